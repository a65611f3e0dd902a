#include "cluster/kubernetes/proxy_stats.h"

#include <charconv>

#include "cluster/kubernetes/api_client.h"

namespace cluster {
namespace {

constexpr std::string_view inbound_listener = "0.0.0.0_15006";

// A line "name{label="value",...} number": what it is about is one label's value.
struct Metric {
  std::string_view name;
  std::string_view about;  // of cluster_name or listener_address; empty: neither
  std::uint64_t value = 0;
};

std::string_view label_of(std::string_view labels, std::string_view key) {
  const auto at = labels.find(key);
  if (at == std::string_view::npos) return {};
  const auto begin = at + key.size();
  return labels.substr(begin, labels.find('"', begin) - begin);
}

// Values are whole, and written so, or with an exponent where they are large.
std::uint64_t number_of(std::string_view text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value > 0 ? static_cast<std::uint64_t>(value) : 0;
}

template <typename Take>
void each_metric(std::string_view metrics, const Take& take) {
  while (!metrics.empty()) {
    const auto line = metrics.substr(0, metrics.find('\n'));
    metrics.remove_prefix(std::min(metrics.size(), line.size() + 1));
    const auto space = line.rfind(' ');
    if (line.starts_with('#') || space == std::string_view::npos) continue;
    const auto brace = std::min(line.find('{'), space);
    const auto labels = line.substr(brace, space - brace);
    Metric metric{.name = line.substr(0, brace),
                  .about = label_of(labels, "cluster_name=\""),
                  .value = number_of(line.substr(space + 1))};
    if (metric.about.empty()) metric.about = label_of(labels, "listener_address=\"");
    take(metric);
  }
}

void count_tls(const Metric& metric, std::string_view prefix, std::uint64_t& handshakes,
               std::uint64_t& resumed, std::uint64_t& failed) {
  const auto what = metric.name.substr(prefix.size());
  if (what == "ssl_handshake") handshakes += metric.value;
  if (what == "ssl_session_reused") resumed += metric.value;
  if (what == "ssl_connection_error" || what.starts_with("ssl_fail_verify_")) {
    failed += metric.value;
  }
}

// Listeners of Services, by their address and port, and the one for all others; neither inbound nor
// those of statistics and health.
bool is_outbound(std::string_view listener) {
  for (const auto* other : {"_15006", "_15090", "_15021"}) {
    if (listener.ends_with(other)) return false;
  }
  return !listener.empty();
}

}  // namespace

std::string proxy_stats_path() {
  // By Envoy's own names, as its administration filters them.
  constexpr std::string_view names =
      "^(listener\\.[0-9[].*|cluster\\.outbound.*)\\.(ssl\\..*|downstream_cx_(total|active)|"
      "upstream_cx_(total|active)|no_filter_chain_match)$";
  return "/stats/prometheus?usedonly&filter=" + url_escape(names);
}

ProxyCounters read_proxy_counters(std::string_view metrics) {
  constexpr std::string_view of_cluster = "envoy_cluster_";
  constexpr std::string_view of_listener = "envoy_listener_";
  ProxyCounters counters;
  each_metric(metrics, [&](const Metric& metric) {
    if (metric.name.starts_with(of_cluster) && metric.about.starts_with("outbound|")) {
      count_tls(metric, of_cluster, counters.client_handshakes, counters.client_resumed,
                counters.client_failed);
      if (metric.name == "envoy_cluster_upstream_cx_total") counters.upstream += metric.value;
    } else if (metric.name.starts_with(of_listener) && metric.about == inbound_listener) {
      count_tls(metric, of_listener, counters.server_handshakes, counters.server_resumed,
                counters.server_failed);
      const auto what = metric.name.substr(of_listener.size());
      if (what == "downstream_cx_total") counters.connections_in = metric.value;
      if (what == "no_filter_chain_match") counters.no_chain = metric.value;
      if (what == "ssl_certificate_default_expiration_unix_time_seconds") {
        counters.certificate_expires_s = static_cast<std::int64_t>(metric.value);
      }
    } else if (metric.name == "envoy_listener_downstream_cx_total" && is_outbound(metric.about)) {
      counters.connections_out += metric.value;
    }
  });
  return counters;
}

std::uint64_t read_open_proxy_connections(std::string_view metrics) {
  std::uint64_t open = 0;
  each_metric(metrics, [&](const Metric& metric) {
    const bool to_others =
        metric.name == "envoy_cluster_upstream_cx_active" && metric.about.starts_with("outbound|");
    const bool from_others =
        metric.name == "envoy_listener_downstream_cx_active" && metric.about == inbound_listener;
    if (to_others || from_others) open += metric.value;
  });
  return open;
}

}  // namespace cluster
