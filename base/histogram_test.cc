#include "base/histogram.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace base {
namespace {

using ::testing::HasSubstr;

// Values that spread over every power of two the histogram keeps apart.
std::vector<std::uint64_t> spread_values(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::uint64_t> values(count);
  for (auto& value : values) value = random() >> (24 + random() % 40);
  return values;
}

Histogram histogram_of(const std::vector<std::uint64_t>& values) {
  Histogram histogram;
  for (const auto value : values) histogram.record(value);
  return histogram;
}

std::string error_of(const Json& json) {
  const auto read = Histogram::from_json(json, "latency");
  return read ? "" : read.error().message;
}

TEST(Histogram, IndexFollowsTheDocumentedLayout) {
  EXPECT_EQ(Histogram::index_of(0), 0U);
  EXPECT_EQ(Histogram::index_of(2047), 2047U);
  // s = bit_width - 11, index = s * 1024 + (v >> s): worked out by hand for 2048 and 1,000,000.
  EXPECT_EQ(Histogram::index_of(2048), 2048U);
  EXPECT_EQ(Histogram::index_of(2049), 2048U);
  EXPECT_EQ(Histogram::index_of(1'000'000), 9U * 1024 + (1'000'000U >> 9));
  EXPECT_EQ(Histogram::index_of((std::uint64_t{1} << 40) - 1), Histogram::bucket_count - 1);
  EXPECT_EQ(Histogram::index_of(std::uint64_t{1} << 40), Histogram::bucket_count);
}

TEST(Histogram, EveryBucketBeginsWhereThePreviousEnds) {
  for (std::size_t index = 0; index < Histogram::bucket_count; ++index) {
    const auto low = Histogram::lower_bound_of(index);
    const auto next = Histogram::lower_bound_of(index + 1);
    ASSERT_EQ(Histogram::index_of(low), index);
    ASSERT_EQ(Histogram::index_of(next - 1), index);
    // Width over value: the promised relative error.
    ASSERT_LE((next - low - 1) * 1024, low) << index;
  }
}

TEST(Histogram, QuantilesAreWithinAThousandthOfTheSortedValues) {
  auto values = spread_values(20'000, 1);
  const auto histogram = histogram_of(values);
  std::sort(values.begin(), values.end());
  for (const double q : {0.0, 0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto rank = std::max(1.0, std::ceil(q * static_cast<double>(values.size())));
    const auto exact = static_cast<double>(values[static_cast<std::size_t>(rank) - 1]);
    EXPECT_NEAR(static_cast<double>(histogram.quantile(q)), exact, exact / 1024) << q;
  }
}

TEST(Histogram, CountMinMaxAndMeanAreExact) {
  const auto values = spread_values(5'000, 2);
  const auto histogram = histogram_of(values);
  double sum = 0;
  for (const auto value : values) sum += static_cast<double>(value);
  EXPECT_EQ(histogram.count(), values.size());
  EXPECT_EQ(histogram.min(), *std::min_element(values.begin(), values.end()));
  EXPECT_EQ(histogram.max(), *std::max_element(values.begin(), values.end()));
  EXPECT_DOUBLE_EQ(histogram.mean(), sum / static_cast<double>(values.size()));
  EXPECT_EQ(histogram.overflow(), 0U);
}

TEST(Histogram, AnEmptyOneAnswersZeroEverywhere) {
  const Histogram histogram;
  EXPECT_EQ(histogram.count(), 0U);
  EXPECT_EQ(histogram.min(), 0U);
  EXPECT_EQ(histogram.max(), 0U);
  EXPECT_EQ(histogram.mean(), 0);
  EXPECT_EQ(histogram.quantile(0.5), 0U);
  EXPECT_EQ(histogram.honest_quantile(0.5), std::nullopt);
}

TEST(Histogram, ZeroIsAValueLikeAnyOther) {
  const auto histogram = histogram_of({0, 0, 0});
  EXPECT_EQ(histogram.count(), 3U);
  EXPECT_EQ(histogram.quantile(1.0), 0U);
  EXPECT_EQ(histogram, *Histogram::from_json(histogram.to_json(), "h"));
}

TEST(Histogram, ValuesBeyondTheLastBucketAreCountedAsOverflow) {
  const auto histogram = histogram_of({5, std::uint64_t{1} << 40, ~std::uint64_t{0}});
  EXPECT_EQ(histogram.count(), 3U);
  EXPECT_EQ(histogram.overflow(), 2U);
  EXPECT_EQ(histogram.max(), ~std::uint64_t{0});
  EXPECT_EQ(histogram.min(), 5U);
}

TEST(Histogram, MergeIsExactInAnyOrder) {
  const auto one = spread_values(3'000, 3);
  const auto two = spread_values(2'000, 4);
  auto all = one;
  all.insert(all.end(), two.begin(), two.end());

  auto forward = histogram_of(one);
  forward.merge(histogram_of(two));
  auto backward = histogram_of(two);
  backward.merge(histogram_of(one));
  EXPECT_EQ(forward, histogram_of(all));
  EXPECT_EQ(backward, forward);
}

TEST(Histogram, MergingAnEmptyOneChangesNothing) {
  auto histogram = histogram_of({7, 70'000});
  const auto before = histogram;
  histogram.merge(Histogram());
  EXPECT_EQ(histogram, before);
  Histogram empty;
  empty.merge(before);
  EXPECT_EQ(empty, before);
}

TEST(Histogram, HonestQuantileNeedsEnoughSamplesBehindIt) {
  // ln(0.05) / ln(q): the smallest n with 1 - q^n >= 0.95.
  for (const auto& [q, needed] : {std::pair{0.99, 299}, {0.999, 2'995}, {0.9999, 29'956}}) {
    Histogram histogram;
    for (int i = 1; i < needed; ++i) histogram.record(100);
    EXPECT_EQ(histogram.honest_quantile(q), std::nullopt) << q;
    histogram.record(100);
    EXPECT_EQ(histogram.honest_quantile(q), 100U) << q;
  }
}

TEST(Histogram, EqualityNoticesASingleMovedValue) {
  EXPECT_EQ(histogram_of({1, 2, 3}), histogram_of({3, 2, 1}));
  EXPECT_NE(histogram_of({1, 3, 3, 5}), histogram_of({1, 2, 4, 5}));  // count, sum, min, max agree
  Histogram prepared;
  prepared.prepare();
  EXPECT_EQ(prepared, Histogram());
  EXPECT_NE(prepared, histogram_of({0}));
}

TEST(HistogramJson, IsReadBackExactly) {
  for (const auto& histogram :
       {Histogram(), histogram_of({42}), histogram_of(spread_values(4'000, 5)),
        histogram_of({1, std::uint64_t{1} << 50, ~std::uint64_t{0}, ~std::uint64_t{0}})}) {
    const auto text = dump_json(histogram.to_json());
    const auto read = Histogram::from_json(*parse_json(text), "latency");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, histogram);
    EXPECT_EQ(dump_json(read->to_json()), text);
  }
}

TEST(HistogramJson, KeepsOnlyBucketsThatHoldSomething) {
  EXPECT_EQ(dump_json(histogram_of({3, 5'000, 3}).to_json()),
            R"({"count":3,"min":3,"max":5000,"sum":5006,"overflow":0,)"
            R"("buckets":[[3,2],[5000,1]]})");
}

TEST(HistogramJson, RefusesWhatContradictsItself) {
  const auto good = histogram_of({3, 5'000, 3}).to_json();
  ASSERT_EQ(error_of(good), "");
  const auto with = [&good](const char* field, const Json& value) {
    Json json = good;
    json[field] = value;
    return error_of(json);
  };
  EXPECT_THAT(with("count", 4), HasSubstr("contradict"));
  EXPECT_THAT(with("count", 2), HasSubstr("latency.buckets[1]: its count contradicts"));
  EXPECT_THAT(with("min", 4), HasSubstr("contradict"));
  EXPECT_THAT(with("max", 9'000), HasSubstr("contradict"));
  EXPECT_THAT(with("sum", 5'003), HasSubstr("contradict"));
  EXPECT_THAT(with("sum", "x"), HasSubstr("latency.sum: expected an unsigned number"));
  EXPECT_THAT(with("overflow", 1), HasSubstr("contradict"));
  EXPECT_THAT(with("buckets", Json::array({Json::array({5'001, 3})})), HasSubstr("lower bound"));
  EXPECT_THAT(with("buckets", Json::array({Json::array({3})})), HasSubstr("[lower bound, count]"));
  EXPECT_THAT(with("buckets", Json::array({Json::array({5'000, 1}), Json::array({3, 2})})),
              HasSubstr("ascending"));
  EXPECT_THAT(with("buckets", 7), HasSubstr("latency.buckets: expected an array"));
  EXPECT_THAT(with("min", -1), HasSubstr("latency.min"));
  EXPECT_THAT(error_of(Json::array()), HasSubstr("expected a histogram"));
  Json without = good;
  without.erase("sum");
  EXPECT_THAT(error_of(without), HasSubstr("latency.sum: missing"));
}

}  // namespace
}  // namespace base
