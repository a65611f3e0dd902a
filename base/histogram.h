// A log-linear histogram of non-negative 64-bit values (nanoseconds, here): relative error at most
// 1/1024 of the value, fixed memory, exact and order-independent merge. Values below 2048 are
// exact.
//
// Bucket layout: with s = max(0, bit_width(v) - 11), the index is s * 1024 + (v >> s); each power
// of two above 2048 is cut into 1024 equal buckets (the layout of HdrHistogram with 3 significant
// digits' worth of sub-buckets, cut in binary).
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace base {

class Histogram {
 public:
  static constexpr int precision_bits = 10;
  // The largest value kept apart: 2^40 ns, about 18 minutes. Larger ones count in the last bucket
  // and in overflow().
  static constexpr int max_bits = 40;
  static constexpr std::size_t bucket_count =
      (static_cast<std::size_t>(max_bits - precision_bits) + 1) << precision_bits;

  // Allocates all its memory (about 248 KiB) at the first record().
  Histogram() = default;

  // Allocates now, so that record() never does. Not for the hot path.
  void prepare() {
    if (buckets_.empty()) buckets_.resize(bucket_count);
  }

  // Counts one value. After prepare(): no allocation, no branch that depends on the data but the
  // overflow's and those of a new smallest or largest value. One thread at a time.
  void record(std::uint64_t value) {
    if (buckets_.empty()) [[unlikely]]
      prepare();
    std::size_t index = index_of(value);
    if (index >= bucket_count) [[unlikely]] {
      index = bucket_count - 1;
      ++overflow_;
    }
    ++buckets_[index];
    sum_ += value;
    if (value < min_) [[unlikely]]
      min_ = value;
    if (value > max_) [[unlikely]]
      max_ = value;
  }

  // Adds every count of `other`; exact, and the same in any order.
  void merge(const Histogram& other);

  // How many values were recorded. The buckets say it, so that record() has no counter to keep:
  // this walks them, about 10 us.
  [[nodiscard]] std::uint64_t count() const;
  [[nodiscard]] std::uint64_t overflow() const { return overflow_; }
  // Exact smallest and largest value recorded; 0 when empty.
  [[nodiscard]] std::uint64_t min() const { return min_ <= max_ ? min_ : 0; }
  [[nodiscard]] std::uint64_t max() const { return max_; }
  // Exact mean; 0 when empty.
  [[nodiscard]] double mean() const;
  // The value at quantile q in [0, 1]: the middle of the bucket that holds the ceil(q * count)-th
  // smallest value, clamped to [min, max]; 0 when empty.
  [[nodiscard]] std::uint64_t quantile(double q) const;
  // The same, but nothing where too few samples stand behind it to bound it from above with 95 %
  // confidence: it needs ln(0.05) / ln(q) samples (299 for p99, 2,995 for p99.9, 29,956 for
  // p99.99).
  [[nodiscard]] std::optional<std::uint64_t> honest_quantile(double q) const;

  // Index of the bucket of a value (beyond bucket_count for an overflow), and the smallest value of
  // a bucket; lower_bound_of(bucket_count) is the end of the last one.
  static constexpr std::size_t index_of(std::uint64_t value) {
    // Setting bit 10 makes the width at least 11, which is the max(0, ...) without a branch.
    const auto width = std::bit_width(value | (std::uint64_t{1} << precision_bits));
    const auto shift = static_cast<std::size_t>(width) - (precision_bits + 1);
    return (shift << precision_bits) + static_cast<std::size_t>(value >> shift);
  }
  static constexpr std::uint64_t lower_bound_of(std::size_t index) {
    constexpr std::size_t linear = std::size_t{2} << precision_bits;
    if (index < linear) return index;
    const std::size_t shift = (index >> precision_bits) - 1;
    return static_cast<std::uint64_t>(index - (shift << precision_bits)) << shift;
  }

  // {"count":..,"min":..,"max":..,"sum":..,"overflow":..,"buckets":[[lower bound, count], ...]}:
  // sparse, and read back exactly. A sum beyond 64 bits is a decimal string.
  [[nodiscard]] Json to_json() const;
  // Errors: input, when a field is missing or of the wrong type, a bucket is not one of ours or out
  // of order, or count, min, max, sum and buckets contradict each other.
  static Result<Histogram> from_json(const Json& json, const std::string& path);
  static Json json_schema();

  // Equal when the same values, up to their buckets, were recorded.
  bool operator==(const Histogram& other) const;

 private:
  // An extension where -Wpedantic looks; its own type also tells the compiler that a bucket's
  // store leaves the sum alone, which keeps the sum in a register across records.
  __extension__ using Sum = unsigned __int128;

  std::vector<std::uint64_t> buckets_;
  std::uint64_t overflow_ = 0;
  std::uint64_t min_ = ~std::uint64_t{0};
  std::uint64_t max_ = 0;
  Sum sum_ = 0;
};

}  // namespace base
