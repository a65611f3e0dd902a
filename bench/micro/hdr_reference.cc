#include "bench/micro/hdr_reference.h"

#include <bit>

namespace bench {
namespace {

// 2 * 10^3 units at full resolution, up to the next power of two.
constexpr std::int32_t sub_bucket_count_magnitude = 11;

std::int32_t bucket_index(const HdrReference& histogram, std::int64_t value) {
  const auto width =
      64 - std::countl_zero(static_cast<std::uint64_t>(value | histogram.sub_bucket_mask));
  return width - histogram.unit_magnitude - (histogram.sub_bucket_half_count_magnitude + 1);
}

std::int32_t counts_index(const HdrReference& histogram, std::int64_t value) {
  const auto bucket = bucket_index(histogram, value);
  const auto sub_bucket = static_cast<std::int32_t>(value >> (bucket + histogram.unit_magnitude));
  const auto base = (bucket + 1) << histogram.sub_bucket_half_count_magnitude;
  return base + (sub_bucket - histogram.sub_bucket_half_count);
}

std::int32_t normalized(const HdrReference& histogram, std::int32_t index) {
  if (histogram.normalizing_index_offset == 0) return index;
  auto shifted = index - histogram.normalizing_index_offset;
  if (shifted < 0) {
    shifted += histogram.counts_len;
  } else if (shifted >= histogram.counts_len) {
    shifted -= histogram.counts_len;
  }
  return shifted;
}

}  // namespace

HdrReference make_hdr_reference(std::int64_t highest_trackable) {
  HdrReference histogram;
  histogram.highest_trackable = highest_trackable;
  histogram.sub_bucket_half_count_magnitude = sub_bucket_count_magnitude - 1;
  histogram.sub_bucket_half_count = 1 << (sub_bucket_count_magnitude - 1);
  histogram.sub_bucket_mask = (std::int64_t{1} << sub_bucket_count_magnitude) - 1;
  std::int32_t buckets = 1;
  for (auto covered = std::int64_t{1} << sub_bucket_count_magnitude; covered <= highest_trackable;
       covered <<= 1) {
    ++buckets;
  }
  histogram.counts_len = (buckets + 1) * histogram.sub_bucket_half_count;
  histogram.counts.resize(static_cast<std::size_t>(histogram.counts_len));
  return histogram;
}

[[gnu::noinline]] bool hdr_record(HdrReference& histogram, std::int64_t value) {
  if (value < 0 || histogram.highest_trackable < value) return false;
  const auto index = counts_index(histogram, value);
  if (index < 0 || histogram.counts_len <= index) return false;
  ++histogram.counts[static_cast<std::size_t>(normalized(histogram, index))];
  ++histogram.total_count;
  if (value != 0 && value < histogram.min_value) histogram.min_value = value;
  if (value > histogram.max_value) histogram.max_value = value;
  return true;
}

}  // namespace bench
