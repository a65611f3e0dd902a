// How the values of a scenario that are spelt as one string are read and written.
#include "stackbench/scenario/scenario.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace stackbench {

bool is_label(std::string_view name) {
  const auto lower_or_digit = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && name.size() <= 63 && lower_or_digit(name.front()) &&
         lower_or_digit(name.back()) &&
         std::ranges::all_of(name, [&](char c) { return c == '-' || lower_or_digit(c); });
}

double number_of(const Bound& bound) {
  if (const auto* percent = std::get_if<base::Percent>(&bound)) return percent->fraction;
  if (const auto* duration = std::get_if<base::Duration>(&bound)) {
    return static_cast<double>(duration->count());
  }
  if (const auto* rate = std::get_if<base::RequestRate>(&bound)) return rate->per_second;
  return std::get<base::DataRate>(bound).bytes_per_second;
}

std::vector<Metric> metrics_of(const bench::WorkloadSpec& workload) {
  using enum Metric;
  if (workload.kind == bench::WorkloadKind::tcp_stream) return {throughput, cpu_per_gb};
  if (workload.kind == bench::WorkloadKind::udp_stream) return {rate, cpu_per_request, jitter};
  std::vector<Metric> metrics{latency_p50, latency_p90,     latency_p99,
                              rate,        cpu_per_request, proxy_cpu_per_request};
  if (!bench::keeps_connections(workload)) metrics.push_back(connect_p50);
  return metrics;
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

namespace stackbench {

bool uses_connection_table(cluster::DatapathKind datapath, const DialTarget& dial,
                           std::string_view from) {
  if (dial.kind == DialTarget::Kind::pod) return false;
  return datapath == cluster::DatapathKind::ebpf_tc ||
         (datapath == cluster::DatapathKind::ebpf_socket && from == cluster::external_client);
}

}  // namespace stackbench

namespace base {

using stackbench::Bound;
using stackbench::DialTarget;

constexpr std::array dial_kinds{
    std::pair{DialTarget::Kind::pod, std::string_view("pod")},
    std::pair{DialTarget::Kind::service, std::string_view("service")},
    std::pair{DialTarget::Kind::node_port, std::string_view("node_port")},
    std::pair{DialTarget::Kind::load_balancer, std::string_view("load_balancer")}};

Result<DialTarget> StringScalar<DialTarget>::parse(std::string_view text) {
  const auto refused = fail(ErrorKind::input, "expected {}, got \"{}\"", example, text);
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return refused;
  const auto kind = std::ranges::find(dial_kinds, text.substr(0, slash),
                                      &std::pair<DialTarget::Kind, std::string_view>::second);
  if (kind == dial_kinds.end()) return refused;
  DialTarget target{.kind = kind->first, .name = std::string(text.substr(slash + 1))};
  if (target.kind == DialTarget::Kind::node_port) {
    const auto at = target.name.find('@');
    if (at == std::string::npos) return refused;
    const std::string_view digits = std::string_view(target.name).substr(at + 1);
    const auto* const end = digits.data() + digits.size();
    const auto [rest, code] = std::from_chars(digits.data(), end, target.node);
    if (code != std::errc() || rest != end || target.node < 1 || digits.front() == '0') {
      return refused;
    }
    target.name.resize(at);
  }
  if (!stackbench::is_label(target.name)) return refused;
  return target;
}

std::string StringScalar<DialTarget>::format(const DialTarget& value) {
  const auto kind = std::ranges::find(dial_kinds, value.kind,
                                      &std::pair<DialTarget::Kind, std::string_view>::first);
  const std::string text = fmt::format("{}/{}", kind->second, value.name);
  return value.kind == DialTarget::Kind::node_port ? fmt::format("{}@{}", text, value.node) : text;
}

Result<Bound> StringScalar<Bound>::parse(std::string_view text) {
  if (text.ends_with('%')) {
    if (const auto percent = StringScalar<Percent>::parse(text)) return Bound(*percent);
  } else if (text.ends_with("B/s")) {
    if (const auto rate = StringScalar<DataRate>::parse(text)) return Bound(*rate);
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
