// The reference a histogram record is measured against: recording as HdrHistogram_c does it (three
// significant digits, values up to an hour in nanoseconds), in the same steps and with the same
// bookkeeping, behind a function call as behind its library's. Only recording; written from the
// published algorithm (hdrhistogram.org).
#pragma once

#include <cstdint>
#include <vector>

namespace bench {

struct HdrReference {
  std::int64_t highest_trackable = 0;
  std::int32_t unit_magnitude = 0;
  std::int32_t sub_bucket_half_count_magnitude = 0;
  std::int32_t sub_bucket_half_count = 0;
  std::int64_t sub_bucket_mask = 0;
  std::int32_t normalizing_index_offset = 0;
  std::int32_t counts_len = 0;
  std::int64_t min_value = INT64_MAX;
  std::int64_t max_value = 0;
  std::int64_t total_count = 0;
  std::vector<std::int64_t> counts;
};

[[nodiscard]] HdrReference make_hdr_reference(std::int64_t highest_trackable);

// False when the value is out of range.
bool hdr_record(HdrReference& histogram, std::int64_t value);

}  // namespace bench
