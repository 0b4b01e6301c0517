// SPDX-License-Identifier: MIT
// The tokens of the tests: as small as a real ERC-20, ERC-721 and ERC-1155 can be and still keep balances.
pragma solidity ^0.8.24;

contract Coin {
    event Transfer(address indexed from, address indexed to, uint256 value);

    mapping(address => uint256) public balanceOf;
    uint8 public constant decimals = 6;
    string public constant symbol = "COIN";

    constructor() {
        balanceOf[msg.sender] = type(uint256).max;
        emit Transfer(address(0), msg.sender, type(uint256).max);
    }

    function transfer(address to, uint256 value) public returns (bool) {
        require(balanceOf[msg.sender] >= value, "COIN: not enough");
        unchecked {
            balanceOf[msg.sender] -= value;
            balanceOf[to] += value;
        }
        emit Transfer(msg.sender, to, value);
        return true;
    }

    /// `count` transfers in one transaction.
    function spread(uint160 first, uint256 count) external {
        for (uint160 i = 0; i < count; i++) transfer(address(first + i), i + 1);
    }
}

contract Deed {
    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);

    mapping(uint256 => address) public ownerOf;

    function mint(address to, uint256 id) external {
        require(ownerOf[id] == address(0), "DEED: taken");
        ownerOf[id] = to;
        emit Transfer(address(0), to, id);
    }

    function transferFrom(address from, address to, uint256 id) external {
        require(ownerOf[id] == from && from == msg.sender, "DEED: not yours");
        ownerOf[id] = to;
        emit Transfer(from, to, id);
    }
}

contract Pack {
    event TransferSingle(address indexed operator, address indexed from, address indexed to, uint256 id, uint256 value);
    event TransferBatch(
        address indexed operator, address indexed from, address indexed to, uint256[] ids, uint256[] values
    );

    mapping(uint256 => mapping(address => uint256)) public balanceOf;

    function mint(address to, uint256 id, uint256 value) external {
        balanceOf[id][to] += value;
        emit TransferSingle(msg.sender, address(0), to, id, value);
    }

    function mintBatch(address to, uint256[] calldata ids, uint256[] calldata values) external {
        for (uint256 i = 0; i < ids.length; i++) balanceOf[ids[i]][to] += values[i];
        emit TransferBatch(msg.sender, address(0), to, ids, values);
    }
}
