// How the values of a scenario that are spelt as one string are read and written.
#include "stackbench/scenario/scenario.h"

#include <algorithm>

namespace stackbench {

bool is_label(std::string_view name) {
  const auto lower_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= 63 && lower_or_digit(name.front()) &&
         lower_or_digit(name.back()) &&
         std::ranges::all_of(name, [&](char c) { return c == '-' || lower_or_digit(c); });
}

std::vector<std::string> workload_names(const Scenario& scenario) {
  std::vector<std::string> names;
  std::map<bench::WorkloadKind, int> seen;
  for (const auto& workload : scenario.workloads) {
    const auto kind = base::enum_name(workload.kind);
    const auto count = ++seen[workload.kind];
    names.push_back(count == 1 ? std::string(kind) : fmt::format("{}_{}", kind, count));
  }
  return names;
}

}  // namespace stackbench

namespace base {

using stackbench::Bound;
using stackbench::DialTarget;

Result<DialTarget> StringScalar<DialTarget>::parse(std::string_view text) {
  const auto slash = text.find('/');
  if (slash != std::string_view::npos) {
    const auto kind = text.substr(0, slash);
    const auto name = text.substr(slash + 1);
    if (stackbench::is_label(name) && (kind == "pod" || kind == "service")) {
      return DialTarget{kind == "pod" ? DialTarget::Kind::pod : DialTarget::Kind::service,
                        std::string(name)};
    }
  }
  return fail(ErrorKind::input, "expected {}, got \"{}\"", example, text);
}

std::string StringScalar<DialTarget>::format(const DialTarget& value) {
  return (value.kind == DialTarget::Kind::pod ? "pod/" : "service/") + value.name;
}

Result<Bound> StringScalar<Bound>::parse(std::string_view text) {
  if (text.ends_with('%')) {
    if (const auto percent = StringScalar<Percent>::parse(text)) return Bound(*percent);
  } else if (text.ends_with("/s")) {
    if (const auto rate = StringScalar<RequestRate>::parse(text)) return Bound(*rate);
  } else if (const auto duration = StringScalar<Duration>::parse(text)) {
    return Bound(*duration);
  }
  return fail(ErrorKind::input, "expected a bound such as {}, got \"{}\"", example, text);
}

std::string StringScalar<Bound>::format(const Bound& value) {
  return std::visit([]<typename T>(const T& bound) { return StringScalar<T>::format(bound); },
                    value);
}

}  // namespace base
