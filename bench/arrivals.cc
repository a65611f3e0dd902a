#include "bench/arrivals.h"

#include <algorithm>
#include <cmath>

namespace bench {

bool Arrivals::first_of_its_number(std::uint64_t sequence) {
  const auto bit_of = [](std::uint64_t number) { return std::uint64_t{1} << (number % 64); };
  const auto word_of = [this](std::uint64_t number) -> std::uint64_t& {
    return seen_[number / 64 % seen_.size()];
  };
  if (sequence > highest_) {
    // The places of the numbers in between were those of numbers long gone.
    if (sequence - highest_ >= remembered) {
      std::ranges::fill(seen_, 0);
    } else {
      for (auto number = highest_ + 1; number < sequence; ++number) {
        word_of(number) &= ~bit_of(number);
      }
    }
    word_of(sequence) |= bit_of(sequence);
    highest_ = sequence;
    return true;
  }
  if (highest_ - sequence >= remembered) return true;
  const bool first = (word_of(sequence) & bit_of(sequence)) == 0;
  word_of(sequence) |= bit_of(sequence);
  return first;
}

void Arrivals::arrived(std::uint64_t sequence, std::int64_t sent_ns, std::int64_t arrived_ns,
                       bool counted) {
  const bool late = sequence < highest_;
  if (!first_of_its_number(sequence)) {
    ++duplicates_;
    return;
  }
  if (late) ++reordered_;
  const auto transit_ns = arrived_ns - sent_ns;
  if (received_ > 0) {
    const auto difference = static_cast<double>(transit_ns - transit_ns_);
    jitter_ns_ += (std::abs(difference) - jitter_ns_) / 16;
  }
  transit_ns_ = transit_ns;
  ++received_;
  if (counted) ++counted_;
}

}  // namespace bench
