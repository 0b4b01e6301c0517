// SPDX-License-Identifier: MIT
// What the tests of tokens and swaps trade with: tokens that are approved, a trader for pools that call back, and of the
// contracts that npm does not have compiled what moves tokens and writes the same logs. The pairs, pools and the wrapped
// currency themselves are the real ones: tests/contracts.py takes them from their packages.
pragma solidity ^0.8.24;

contract Token {
    event Transfer(address indexed from, address indexed to, uint256 value);
    event Approval(address indexed owner, address indexed spender, uint256 value);

    error ERC20InsufficientBalance(address sender, uint256 balance, uint256 needed);
    error ERC20InsufficientAllowance(address spender, uint256 allowance, uint256 needed);

    string public symbol;
    string public name;
    uint8 public immutable decimals;
    uint256 public totalSupply;
    mapping(address => uint256) public balanceOf;
    mapping(address => mapping(address => uint256)) public allowance;

    constructor(string memory symbol_, string memory name_, uint8 decimals_, uint256 supply) {
        (symbol, name, decimals, totalSupply) = (symbol_, name_, decimals_, supply);
        balanceOf[msg.sender] = supply;
        emit Transfer(address(0), msg.sender, supply);
    }

    function approve(address spender, uint256 value) external returns (bool) {
        allowance[msg.sender][spender] = value;
        emit Approval(msg.sender, spender, value);
        return true;
    }

    function transfer(address to, uint256 value) external returns (bool) {
        _move(msg.sender, to, value);
        return true;
    }

    function transferFrom(address from, address to, uint256 value) external returns (bool) {
        uint256 left = allowance[from][msg.sender];
        if (left < value) revert ERC20InsufficientAllowance(msg.sender, left, value);
        if (left != type(uint256).max) allowance[from][msg.sender] = left - value;
        _move(from, to, value);
        return true;
    }

    function _move(address from, address to, uint256 value) private {
        uint256 held = balanceOf[from];
        if (held < value) revert ERC20InsufficientBalance(from, held, value);
        balanceOf[from] = held - value;
        balanceOf[to] += value;
        emit Transfer(from, to, value);
    }
}

/// An ERC-721 with approvals.
contract Title {
    event Transfer(address indexed from, address indexed to, uint256 indexed tokenId);
    event Approval(address indexed owner, address indexed approved, uint256 indexed tokenId);
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);

    string public constant symbol = "TITLE";
    string public constant name = "Titles";
    mapping(uint256 => address) public ownerOf;
    mapping(address => uint256) public balanceOf;

    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0x80ac58cd;
    }

    function mint(address to, uint256 id) external {
        require(ownerOf[id] == address(0), "TITLE: taken");
        ownerOf[id] = to;
        balanceOf[to] += 1;
        emit Transfer(address(0), to, id);
    }

    function transferFrom(address from, address to, uint256 id) external {
        require(ownerOf[id] == from && from == msg.sender, "TITLE: not yours");
        ownerOf[id] = to;
        balanceOf[from] -= 1;
        balanceOf[to] += 1;
        emit Transfer(from, to, id);
    }

    function approve(address to, uint256 id) external {
        require(ownerOf[id] == msg.sender, "TITLE: not yours");
        emit Approval(msg.sender, to, id);
    }

    function setApprovalForAll(address operator, bool approved) external {
        emit ApprovalForAll(msg.sender, operator, approved);
    }
}

/// An ERC-1155 with approvals.
contract Crate {
    event ApprovalForAll(address indexed owner, address indexed operator, bool approved);

    string public constant symbol = "CRATE";

    function supportsInterface(bytes4 id) external pure returns (bool) {
        return id == 0x01ffc9a7 || id == 0xd9b67a26;
    }

    function setApprovalForAll(address operator, bool approved) external {
        emit ApprovalForAll(msg.sender, operator, approved);
    }
}

interface IPool {
    function token0() external view returns (address);
    function token1() external view returns (address);
    function mint(address to, int24 lower, int24 upper, uint128 liquidity, bytes calldata data)
        external
        returns (uint256, uint256);
    function swap(address to, bool zeroForOne, int256 amount, uint160 limit, bytes calldata data)
        external
        returns (int256, int256);
}

interface IPair {
    function swap(uint256 out0, uint256 out1, address to, bytes calldata data) external;
}

/// A router for pairs of Uniswap v2; and one that holds tokens, and pays pools of Uniswap v3 when they call back.
contract Trader {
    function swapV2(IPair pair, Token into, uint256 amountIn, uint256 out0, uint256 out1, address to) external {
        into.transferFrom(msg.sender, address(pair), amountIn);
        pair.swap(out0, out1, to, "");
    }

    function mint(IPool pool, int24 lower, int24 upper, uint128 liquidity) external {
        pool.mint(address(this), lower, upper, liquidity, "");
    }

    /// `amount` goes in where it is positive, comes out where it is negative. At any price.
    function swap(IPool pool, address to, bool zeroForOne, int256 amount) external {
        uint160 limit = zeroForOne ? 4295128740 : 1461446703485210103287273052203988822378723970341;
        pool.swap(to, zeroForOne, amount, limit, "");
    }

    function uniswapV3MintCallback(uint256 owed0, uint256 owed1, bytes calldata) external {
        _pay(int256(owed0), int256(owed1));
    }

    function uniswapV3SwapCallback(int256 owed0, int256 owed1, bytes calldata) external {
        _pay(owed0, owed1);
    }

    function _pay(int256 owed0, int256 owed1) private {
        if (owed0 > 0) Token(IPool(msg.sender).token0()).transfer(msg.sender, uint256(owed0));
        if (owed1 > 0) Token(IPool(msg.sender).token1()).transfer(msg.sender, uint256(owed1));
    }
}

/// PancakeSwap v3: trades what it holds at any price that is asked for, and writes that pool's log.
contract PancakePool {
    event Swap(
        address indexed sender,
        address indexed recipient,
        int256 amount0,
        int256 amount1,
        uint160 sqrtPriceX96,
        uint128 liquidity,
        int24 tick,
        uint128 protocolFeesToken0,
        uint128 protocolFeesToken1
    );

    Token public immutable token0;
    Token public immutable token1;

    constructor(Token one, Token other) {
        (token0, token1) = one < other ? (one, other) : (other, one);
    }

    function swap(address to, bool zeroForOne, uint256 amountIn, uint256 amountOut) external {
        (Token into, Token out) = zeroForOne ? (token0, token1) : (token1, token0);
        into.transferFrom(msg.sender, address(this), amountIn);
        out.transfer(to, amountOut);
        (int256 amount0, int256 amount1) =
            zeroForOne ? (int256(amountIn), -int256(amountOut)) : (-int256(amountOut), int256(amountIn));
        emit Swap(msg.sender, to, amount0, amount1, 1 << 96, 1, 0, 0, 0);
    }
}

/// The PoolManager of Uniswap v4: pools by id, native currency as the zero address; trades what it holds at any price.
contract Manager {
    struct PoolKey {
        address currency0;
        address currency1;
        uint24 fee;
        int24 tickSpacing;
        address hooks;
    }

    event Initialize(
        bytes32 indexed id,
        address indexed currency0,
        address indexed currency1,
        uint24 fee,
        int24 tickSpacing,
        address hooks,
        uint160 sqrtPriceX96,
        int24 tick
    );
    event Swap(
        bytes32 indexed id,
        address indexed sender,
        int128 amount0,
        int128 amount1,
        uint160 sqrtPriceX96,
        uint128 liquidity,
        int24 tick,
        uint24 fee
    );

    error CurrenciesOutOfOrderOrEqual(address currency0, address currency1);
    error PoolNotInitialized();

    mapping(bytes32 => bool) private _made;

    receive() external payable {}

    function initialize(PoolKey calldata key, uint160 sqrtPriceX96) external returns (int24) {
        if (key.currency0 >= key.currency1) revert CurrenciesOutOfOrderOrEqual(key.currency0, key.currency1);
        bytes32 id = keccak256(abi.encode(key));
        _made[id] = true;
        emit Initialize(
            id, key.currency0, key.currency1, key.fee, key.tickSpacing, key.hooks, sqrtPriceX96, 0
        );
        return 0;
    }

    function swap(PoolKey calldata key, bool zeroForOne, uint256 amountIn, uint256 amountOut) external payable {
        bytes32 id = keccak256(abi.encode(key));
        if (!_made[id]) revert PoolNotInitialized();
        if (zeroForOne) _trade(key.currency0, key.currency1, amountIn, amountOut);
        else _trade(key.currency1, key.currency0, amountIn, amountOut);
        (int256 amount0, int256 amount1) =
            zeroForOne ? (-int256(amountIn), int256(amountOut)) : (int256(amountOut), -int256(amountIn));
        emit Swap(id, msg.sender, int128(amount0), int128(amount1), 1 << 96, 1, 0, key.fee);
    }

    function _trade(address into, address out, uint256 amountIn, uint256 amountOut) private {
        if (into == address(0)) require(msg.value == amountIn);
        else Token(into).transferFrom(msg.sender, address(this), amountIn);
        if (out == address(0)) payable(msg.sender).transfer(amountOut);
        else Token(out).transfer(msg.sender, amountOut);
    }
}

/// Permit2's book of allowances. It believes every signature: it is for tests alone.
contract Allowances {
    struct PermitDetails {
        address token;
        uint160 amount;
        uint48 expiration;
        uint48 nonce;
    }

    struct PermitSingle {
        PermitDetails details;
        address spender;
        uint256 sigDeadline;
    }

    struct TokenSpenderPair {
        address token;
        address spender;
    }

    event Approval(
        address indexed owner, address indexed token, address indexed spender, uint160 amount, uint48 expiration
    );
    event Permit(
        address indexed owner,
        address indexed token,
        address indexed spender,
        uint160 amount,
        uint48 expiration,
        uint48 nonce
    );
    event Lockdown(address indexed owner, address token, address spender);

    function approve(address token, address spender, uint160 amount, uint48 expiration) external {
        emit Approval(msg.sender, token, spender, amount, expiration);
    }

    function permit(address owner, PermitSingle calldata single, bytes calldata) external {
        PermitDetails calldata told = single.details;
        emit Permit(owner, told.token, single.spender, told.amount, told.expiration, told.nonce);
    }

    function lockdown(TokenSpenderPair[] calldata approvals) external {
        for (uint256 i = 0; i < approvals.length; i++) {
            emit Lockdown(msg.sender, approvals[i].token, approvals[i].spender);
        }
    }
}
