"""
Errors of widely used contracts, by their signatures: what `reverts` can name.

Facts of the published sources: ERC-6093 and OpenZeppelin Contracts 5, Permit2, Uniswap's Universal Router and v4, the
entry point of ERC-4337, Solady, ERC721A, Seaport, 1inch; and the short codes that Safe and Uniswap v3 return as text.
"""

from __future__ import annotations

from typing import Final

_TABLE: Final = """
ERC20InsufficientBalance(address,uint256,uint256)
ERC20InvalidSender(address)
ERC20InvalidReceiver(address)
ERC20InsufficientAllowance(address,uint256,uint256)
ERC20InvalidApprover(address)
ERC20InvalidSpender(address)
ERC20ExceededCap(uint256,uint256)
ERC721InvalidOwner(address)
ERC721NonexistentToken(uint256)
ERC721IncorrectOwner(address,uint256,address)
ERC721InvalidSender(address)
ERC721InvalidReceiver(address)
ERC721InsufficientApproval(address,uint256)
ERC721InvalidApprover(address)
ERC721InvalidOperator(address)
ERC721OutOfBoundsIndex(address,uint256)
ERC1155InsufficientBalance(address,uint256,uint256,uint256)
ERC1155InvalidSender(address)
ERC1155InvalidReceiver(address)
ERC1155MissingApprovalForAll(address,address)
ERC1155InvalidApprover(address)
ERC1155InvalidOperator(address)
ERC1155InvalidArrayLength(uint256,uint256)
ERC2612ExpiredSignature(uint256)
ERC2612InvalidSigner(address,address)
ERC4626ExceededMaxDeposit(address,uint256,uint256)
ERC4626ExceededMaxMint(address,uint256,uint256)
ERC4626ExceededMaxWithdraw(address,uint256,uint256)
ERC4626ExceededMaxRedeem(address,uint256,uint256)
InvalidAccountNonce(address,uint256)
OwnableUnauthorizedAccount(address)
OwnableInvalidOwner(address)
AccessControlUnauthorizedAccount(address,bytes32)
AccessControlBadConfirmation()
AccessManagedUnauthorized(address)
AccessManagerUnauthorizedAccount(address,uint64)
TimelockUnauthorizedCaller(address)
TimelockInsufficientDelay(uint256,uint256)
EnforcedPause()
ExpectedPause()
ReentrancyGuardReentrantCall()
InvalidInitialization()
NotInitializing()
SafeERC20FailedOperation(address)
SafeERC20FailedDecreaseAllowance(address,uint256,uint256)
AddressEmptyCode(address)
AddressInsufficientBalance(address)
FailedInnerCall()
FailedCall()
InsufficientBalance(uint256,uint256)
ERC1967InvalidImplementation(address)
ERC1967InvalidAdmin(address)
ERC1967NonPayable()
UUPSUnauthorizedCallContext()
UUPSUnsupportedProxiableUUID(bytes32)
ProxyDeniedAdminAccess()
ECDSAInvalidSignature()
ECDSAInvalidSignatureLength(uint256)
ECDSAInvalidSignatureS(bytes32)
MathOverflowedMulDiv()
SafeCastOverflowedUintDowncast(uint8,uint256)
SafeCastOverflowedIntDowncast(uint8,int256)
SafeCastOverflowedIntToUint(int256)
SafeCastOverflowedUintToInt(uint256)
StringsInsufficientHexLength(uint256,uint256)
StringTooLong(string)

AllowanceExpired(uint256)
InsufficientAllowance(uint256)
ExcessiveInvalidation()
InvalidAmount(uint256)
LengthMismatch()
InvalidNonce()
SignatureExpired(uint256)
InvalidSignatureLength()
InvalidSignature()
InvalidSigner()
InvalidContractSignature()

ExecutionFailed(uint256,bytes)
ETHNotAccepted()
TransactionDeadlinePassed()
InvalidCommandType(uint256)
InvalidEthSender()
InsufficientETH()
InsufficientToken()
BalanceTooLow()
V2TooLittleReceived()
V2TooMuchRequested()
V2InvalidPath()
V3TooLittleReceived()
V3TooMuchRequested()
V3InvalidSwap()
V3InvalidAmountOut()
V3InvalidCaller()
V4TooLittleReceived(uint256,uint256)
V4TooMuchRequested(uint256,uint256)
CurrencyNotSettled()
PoolNotInitialized()
PoolAlreadyInitialized()
AlreadyUnlocked()
ManagerLocked()
SwapAmountCannotBeZero()
NonzeroNativeValue()
CurrenciesOutOfOrderOrEqual(address,address)
TickSpacingTooLarge(int24)
TickSpacingTooSmall(int24)
TicksMisordered(int24,int24)
PriceLimitAlreadyExceeded(uint160,uint160)
PriceLimitOutOfBounds(uint160)
HookAddressNotValid(address)
InvalidHookResponse()
WrappedError(address,bytes4,bytes,bytes)
DeadlinePassed(uint256)
NotApproved(address)
MaximumAmountExceeded(uint128,uint128)
MinimumAmountInsufficient(uint128,uint128)

FailedOp(uint256,string)
FailedOpWithRevert(uint256,string,bytes)
SignatureValidationFailed(address)

TransferFailed()
TransferFromFailed()
ApproveFailed()
ETHTransferFailed()
InsufficientBalance()
InsufficientAllowance()
AllowanceOverflow()
TotalSupplyOverflow()
PermitExpired()
InvalidPermit()
Unauthorized()
NewOwnerIsZeroAddress()
AlreadyInitialized()
Reentrancy()
ApprovalCallerNotOwnerNorApproved()
ApprovalQueryForNonexistentToken()
BalanceQueryForZeroAddress()
MintToZeroAddress()
MintZeroQuantity()
OwnerQueryForNonexistentToken()
TransferCallerNotOwnerNorApproved()
TransferFromIncorrectOwner()
TransferToNonERC721ReceiverImplementer()
TransferToZeroAddress()
URIQueryForNonexistentToken()
InvalidTime(uint256,uint256)
OrderAlreadyFilled(bytes32)
OrderIsCancelled(bytes32)
ReturnAmountIsNotEnough(uint256,uint256)
ReturnAmountIsNotEnough()
"""
SIGNATURES: Final = tuple(_TABLE.split())

MEANINGS: Final = {
    "GS010": "not enough gas for the Safe's transaction",
    "GS011": "the Safe could not pay for the gas in native currency",
    "GS012": "the Safe could not pay for the gas in the token",
    "GS013": "the call that the Safe made failed",
    "GS020": "signatures too short",
    "GS021": "a contract's signature points into the static part",
    "GS022": "a contract's signature has no length",
    "GS023": "a contract's signature is cut off",
    "GS024": "a contract rejected its signature",
    "GS025": "the hash was not approved by that owner",
    "GS026": "a signature is not an owner's, or out of order",
    "GS030": "only owners approve a hash",
    "GS031": "only the Safe itself may call that",
    "GS104": "not an enabled module of the Safe",
    "LOK": "the pool is locked, or not initialized",
    "SPL": "price limit beyond the pool's price",
    "STF": "transferFrom failed: balance or allowance too low",
    "IIA": "the pool was not paid in full",
}
"""Codes that stand alone as the text of a revert."""
