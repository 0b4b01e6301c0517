// SPDX-License-Identifier: MIT
// What the tests of reading state need: contracts that answer as real ones do, and such that mean harm.
pragma solidity ^0.8.24;

/// A token as the first ones were: its texts are 32 bytes.
contract Old {
    bytes32 public constant symbol = "MKR";
    bytes32 public constant name = "Maker";
    uint256 public constant decimals = 18;
    mapping(address => uint256) public balanceOf;

    constructor() {
        balanceOf[msg.sender] = 7;
    }
}

/// Texts that move a cursor, decimals that no token has.
contract Hostile {
    string public constant symbol = unicode"US\u202eDC\u001b[2J";
    uint256 public constant decimals = type(uint256).max;

    function name() external pure returns (string memory text) {
        text = new string(1000);
        for (uint256 i = 0; i < 1000; i++) bytes(text)[i] = "x";
    }
}

/// Burns whatever gas it gets.
contract Burner {
    fallback() external {
        while (true) {}
    }
}

/// Returns 100 kilobytes.
contract Flood {
    fallback() external {
        assembly {
            mstore(0, 5)
            return(0, 100000)
        }
    }
}

contract Reverting {
    fallback() external {
        revert("rate limit exceeded: too many requests");
    }
}

/// Returns 31 bytes: no number.
contract Short {
    fallback() external {
        assembly {
            return(0, 31)
        }
    }
}

contract Collection {
    bytes4 immutable kind;

    constructor(bytes4 interfaceId) {
        kind = interfaceId;
    }

    function supportsInterface(bytes4 interfaceId) external view returns (bool) {
        return interfaceId == kind || interfaceId == 0x01ffc9a7;
    }
}

contract Pair {
    address public constant token0 = 0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48;
    address public constant token1 = 0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2;
}

/// Uniswap v4's PositionManager, as far as pools' keys go.
contract Positions {
    struct PoolKey {
        address currency0;
        address currency1;
        uint24 fee;
        int24 tickSpacing;
        address hooks;
    }

    mapping(bytes25 => PoolKey) public poolKeys;

    function add(PoolKey calldata key) external {
        poolKeys[bytes25(keccak256(abi.encode(key)))] = key;
    }

    function lie(bytes25 id, PoolKey calldata key) external {
        poolKeys[id] = key;
    }
}

contract Proxy {
    address public aggregator = 0x1111111111111111111111111111111111111111;
    uint16 public phaseId = 4;
    uint8 public constant decimals = 8;
    int256 answer = -12345;

    function silence() external {
        answer = 0;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        require(answer != 0, "No data present");
        return ((uint80(4) << 64) | 77, answer, 1700000000, 1700000001, (uint80(4) << 64) | 77);
    }
}

contract Purse {
    constructor() payable {}

    receive() external payable {}

    function pay(address payable to, uint256 value) public {
        (bool done, ) = to.call{value: value}("");
        require(done);
    }

    function payAndFail(address payable to, uint256 value) external {
        pay(to, value);
        revert("taken back");
    }

    function end(address payable to) external {
        selfdestruct(to);
    }

    function code() external payable {}
}

/// Value in all the ways that it can move inside a transaction.
contract Mover {
    constructor() payable {}

    function everything(address payable to) external payable {
        Purse first = new Purse{value: 100}(); // 0
        first.pay(to, 30); // 1, and below it 1.0
        try first.payAndFail(to, 50) {} catch {} // 2: all below it is taken back
        Purse second = new Purse{value: 7, salt: bytes32(uint256(1))}(); // 3
        second.end(to); // 4, and below it 4.0
        (bool done, ) = address(first).delegatecall(abi.encodeCall(Purse.code, ())); // 5: delegates, and moves nothing
        (bool nothing, ) = to.call{value: 0}(""); // 6: moves nothing
        (bool paid, ) = to.call{value: 5}(""); // 7
        require(done && nothing && paid);
    }

    /// Calls itself so often, and pays at the bottom.
    function deep(uint256 levels, address payable to) external {
        if (levels == 0) to.transfer(3);
        else this.deep(levels - 1, to);
    }
}

contract Failing {
    error Unlucky(uint256 number);

    uint256 public calls;

    function reason() external pure {
        revert("no luck");
    }

    function custom() external pure {
        revert Unlucky(13);
    }

    function panic(uint256 zero) external pure returns (uint256) {
        return 1 / zero;
    }

    function silent() external pure {
        revert();
    }

    function burn() external pure {
        while (true) {}
    }

    /// Fails only the second time: a call at the parent block does not show why.
    function once() external {
        calls++;
        require(calls % 2 == 1, "only once");
    }

    function long() external pure {
        assembly {
            revert(0, 10000)
        }
    }
}
