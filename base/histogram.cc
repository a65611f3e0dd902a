// The parts of the histogram that are off the hot path: reading it, merging it, its JSON.
#include "base/histogram.h"

#include <algorithm>
#include <cmath>

namespace base {
namespace {

__extension__ using Sum = unsigned __int128;

std::string decimal(Sum value) {
  std::string digits;
  do {
    digits.push_back(static_cast<char>('0' + static_cast<int>(value % 10)));
    value /= 10;
  } while (value != 0);
  std::reverse(digits.begin(), digits.end());
  return digits;
}

std::optional<Sum> parse_decimal(const std::string& text) {
  // 2^128 has 39 digits; 38 always fit.
  if (text.empty() || text.size() > 38) return std::nullopt;
  Sum value = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return std::nullopt;
    value = value * 10 + static_cast<Sum>(digit - '0');
  }
  return value;
}

Result<std::uint64_t> read_count(const Json& json, const std::string& path, const char* name) {
  const auto found = json.find(name);
  if (found == json.end()) return fail(ErrorKind::input, "{}.{}: missing", path, name);
  return base::from_json<std::uint64_t>(*found, fmt::format("{}.{}", path, name));
}

Result<Sum> read_sum(const Json& json, const std::string& path) {
  const auto found = json.find("sum");
  if (found != json.end() && found->is_string()) {
    if (const auto sum = parse_decimal(found->get_ref<const std::string&>())) return *sum;
    return json_detail::wrong_type(path + ".sum", "an unsigned number", *found);
  }
  ASSIGN_OR_RETURN(const auto sum, read_count(json, path, "sum"));
  return Sum{sum};
}

}  // namespace

void Histogram::merge(const Histogram& other) {
  if (other.buckets_.empty()) return;
  prepare();
  for (std::size_t i = 0; i < bucket_count; ++i) buckets_[i] += other.buckets_[i];
  overflow_ += other.overflow_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  sum_ += other.sum_;
}

std::uint64_t Histogram::count() const {
  std::uint64_t count = 0;
  for (const auto bucket : buckets_) count += bucket;
  return count;
}

double Histogram::mean() const {
  const auto values = count();
  return values == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(values);
}

std::uint64_t Histogram::quantile(double q) const {
  const auto values = count();
  if (values == 0) return 0;
  const double wanted = std::ceil(std::clamp(q, 0.0, 1.0) * static_cast<double>(values));
  const auto rank = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(wanted), 1, values);
  std::uint64_t seen = 0;
  std::size_t index = 0;
  for (; index + 1 < bucket_count; ++index) {
    seen += buckets_[index];
    if (seen >= rank) break;
  }
  const auto low = lower_bound_of(index);
  const auto width = lower_bound_of(index + 1) - low;
  // A bucket of one value is that value; a wider one answers with its middle.
  return std::clamp(low + width / 2, min_, max_);
}

std::optional<std::uint64_t> Histogram::honest_quantile(double q) const {
  if (q <= 0 || q >= 1) return std::nullopt;
  const double needed = std::ceil(std::log(0.05) / std::log(q));
  if (static_cast<double>(count()) < needed) return std::nullopt;
  return quantile(q);
}

Json Histogram::to_json() const {
  Json buckets = Json::array();
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    if (buckets_[i] != 0) buckets.push_back(Json::array({lower_bound_of(i), buckets_[i]}));
  }
  Json json = Json::object();
  json["count"] = count();
  json["min"] = min();
  json["max"] = max();
  if (sum_ <= ~std::uint64_t{0}) {
    json["sum"] = static_cast<std::uint64_t>(sum_);
  } else {
    json["sum"] = decimal(sum_);
  }
  json["overflow"] = overflow_;
  json["buckets"] = std::move(buckets);
  return json;
}

Result<Histogram> Histogram::from_json(const Json& json, const std::string& path) {
  if (!json.is_object()) return json_detail::wrong_type(path, "a histogram", json);
  ASSIGN_OR_RETURN(const auto count, read_count(json, path, "count"));
  ASSIGN_OR_RETURN(const auto min, read_count(json, path, "min"));
  ASSIGN_OR_RETURN(const auto max, read_count(json, path, "max"));
  ASSIGN_OR_RETURN(const auto sum, read_sum(json, path));
  ASSIGN_OR_RETURN(const auto overflow, read_count(json, path, "overflow"));
  // A copy and not an iterator: GCC 12 takes the iterator for possibly null here.
  const Json buckets = json.value("buckets", Json());
  if (!buckets.is_array()) {
    return fail(ErrorKind::input, "{}.buckets: expected an array", path);
  }

  Histogram histogram;
  if (count != 0) histogram.prepare();
  std::uint64_t counted = 0;
  Sum least = 0;  // the smallest sum these buckets allow
  std::size_t first = bucket_count;
  std::size_t last = 0;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    const Json& pair = buckets[i];
    const auto where = fmt::format("{}.buckets[{}]", path, i);
    if (!pair.is_array() || pair.size() != 2) {
      return json_detail::wrong_type(where, "[lower bound, count]", pair);
    }
    ASSIGN_OR_RETURN(const auto low, base::from_json<std::uint64_t>(pair[0], where + "[0]"));
    ASSIGN_OR_RETURN(const auto values, base::from_json<std::uint64_t>(pair[1], where + "[1]"));
    const auto index = index_of(low);
    if (index >= bucket_count || lower_bound_of(index) != low) {
      return json_detail::wrong_type(where + "[0]", "the lower bound of a bucket", pair[0]);
    }
    if (first != bucket_count && index <= last) {
      return fail(ErrorKind::input, "{}: buckets are not in ascending order", where);
    }
    // Counts that add up beyond 64 bits would wrap into agreement with a small count.
    if (values == 0 || values > count - counted) {
      return fail(ErrorKind::input, "{}: its count contradicts the histogram's", where);
    }
    histogram.buckets_[index] = values;
    counted += values;
    least += Sum{low} * values;
    if (first == bucket_count) first = index;
    last = index;
  }
  const bool agrees =
      counted == count && sum >= least &&
      (count == 0 ? min == 0 && max == 0 && sum == 0 && overflow == 0
                  : min <= max && std::min(index_of(min), bucket_count - 1) == first &&
                        std::min(index_of(max), bucket_count - 1) == last &&
                        overflow <= histogram.buckets_[bucket_count - 1] &&
                        (overflow > 0) == (index_of(max) >= bucket_count) &&
                        sum >= Sum{min} * count && sum <= Sum{max} * count);
  if (!agrees) {
    return fail(ErrorKind::input, "{}: count, min, max, sum and buckets contradict each other",
                path.empty() ? "histogram" : path);
  }
  histogram.overflow_ = overflow;
  if (count != 0) histogram.min_ = min;
  histogram.max_ = max;
  histogram.sum_ = sum;
  return histogram;
}

Json Histogram::json_schema() {
  const Json number = {{"type", "integer"}, {"minimum", 0}};
  Json pair = {{"type", "array"}, {"items", number}, {"minItems", 2}, {"maxItems", 2}};
  pair["description"] = "Lower bound of the bucket, and how many values fell into it.";
  Json properties = Json::object();
  properties["count"] = number;
  properties["min"] = number;
  properties["max"] = number;
  properties["sum"] = {{"type", Json::array({"integer", "string"})}};
  properties["overflow"] = number;
  properties["buckets"] = {{"type", "array"}, {"items", std::move(pair)}};
  return {{"type", "object"},
          {"properties", std::move(properties)},
          {"required", Json::array({"count", "min", "max", "sum", "overflow", "buckets"})},
          {"additionalProperties", false}};
}

bool Histogram::operator==(const Histogram& other) const {
  if (min_ != other.min_ || max_ != other.max_ || sum_ != other.sum_ ||
      overflow_ != other.overflow_) {
    return false;
  }
  // One that was prepared but never recorded into equals one that has no memory yet.
  if (buckets_.empty() || other.buckets_.empty()) return count() == other.count();
  return buckets_ == other.buckets_;
}

}  // namespace base
