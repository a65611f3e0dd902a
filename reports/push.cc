#include "reports/push.h"

#include "base/http/http.h"
#include "reports/prometheus.h"

namespace reports {
namespace {

constexpr base::Duration patience = std::chrono::seconds(10);

}  // namespace

base::Result<> push_to_gateway(const Report& report, const std::string& gateway) {
  auto root = gateway;
  while (root.ends_with('/')) root.pop_back();
  const base::http::Request request{.method = "PUT",
                                    .url = fmt::format("{}/metrics/job/stackbench/scenario/{}",
                                                       root, prometheus_scenario(report)),
                                    .content_type = "text/plain; version=0.0.4",
                                    .body = render_prometheus(report)};
  ASSIGN_OR_RETURN(const auto response, base::http::exchange(request, patience));
  if (response.status / 100 == 2) return {};
  auto words = response.body.substr(0, response.body.find('\n'));
  return base::fail(base::ErrorKind::system, "{} answered {}{}{}", gateway, response.status,
                    words.empty() ? "" : ": ", words);
}

}  // namespace reports
