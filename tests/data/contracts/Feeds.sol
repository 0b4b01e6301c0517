// SPDX-License-Identifier: MIT
pragma solidity ^0.8.20;

// Chainlink's two contracts, cut down to what readers of a price see of them: who writes answers, and who stands
// before it, whose round ids have the phase in their upper bits.

contract Aggregator {
    event AnswerUpdated(int256 indexed current, uint256 indexed roundId, uint256 updatedAt);

    uint8 public immutable decimals;
    uint80 public round;
    int256 public answer;
    uint256 public updatedAt;

    constructor(uint8 decimals_) {
        decimals = decimals_;
    }

    function transmit(int256 answer_, uint256 at) external {
        round += 1;
        answer = answer_;
        updatedAt = at;
        emit AnswerUpdated(answer_, round, at);
    }

    // A round of which no log tells.
    function whisper(int256 answer_, uint256 at) external {
        round += 1;
        answer = answer_;
        updatedAt = at;
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        require(round > 0, "No data present");
        return (round, answer, updatedAt, updatedAt, round);
    }
}

contract FeedProxy {
    uint16 public phaseId;
    Aggregator public aggregator;

    function confirm(Aggregator next) external {
        phaseId += 1;
        aggregator = next;
    }

    function decimals() external view returns (uint8) {
        return aggregator.decimals();
    }

    function latestRoundData() external view returns (uint80, int256, uint256, uint256, uint80) {
        (uint80 round, int256 answer, uint256 started, uint256 updated, uint80 answered) = aggregator.latestRoundData();
        uint80 phase = uint80(phaseId) << 64;
        return (phase | round, answer, started, updated, phase | answered);
    }
}
