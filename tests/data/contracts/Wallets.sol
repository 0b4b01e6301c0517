// SPDX-License-Identifier: MIT
// What moves a wallet's balance in unusual ways: a fee on transfer, a rebase without a log, payments from inside of a
// contract, a self-destruct; and every way to fail.
pragma solidity ^0.8.24;

contract FeeCoin {
    event Transfer(address indexed from, address indexed to, uint256 value);

    uint256 private _scale = 1000;
    mapping(address => uint256) private _shares;
    uint8 public constant decimals = 6;
    string public constant symbol = "FEE";

    constructor() {
        _shares[msg.sender] = 10 ** 12;
        emit Transfer(address(0), msg.sender, 10 ** 12);
    }

    function balanceOf(address owner) public view returns (uint256) {
        return _shares[owner] * _scale / 1000;
    }

    /// The log says `value`; one per cent of it stays behind.
    function transfer(address to, uint256 value) external returns (bool) {
        _shares[msg.sender] -= value * 1000 / _scale;
        _shares[to] += value * 990 / _scale;
        emit Transfer(msg.sender, to, value);
        return true;
    }

    /// Every balance is `scale` thousandths of what it was at first; no log.
    function rebase(uint256 scale) external {
        _scale = scale;
    }
}

contract Payer {
    receive() external payable {}

    function pay(address payable to) external payable {
        to.transfer(msg.value);
    }

    /// Pays, and takes it back by a revert inside; then pays `keep` for good.
    function payTwice(address payable to, uint256 keep) external payable {
        try this.payAndFail{value: msg.value - keep}(to) {} catch {}
        to.transfer(keep);
    }

    function payAndFail(address payable to) external payable {
        to.transfer(msg.value);
        revert("never");
    }
}

contract Kamikaze {
    constructor(address payable heir) payable {
        selfdestruct(heir);
    }
}

contract Failing {
    error NotEnough(address who, uint256 wanted);

    function text() external payable {
        revert("you shall not pass");
    }

    function panic(uint256 divisor) external payable returns (uint256) {
        return 1 / divisor;
    }

    function custom() external payable {
        revert NotEnough(msg.sender, 5);
    }

    function silent() external payable {
        assembly {
            revert(0, 0)
        }
    }

    function burn() external payable {
        while (true) {}
    }
}
