#include "reports/serve.h"

#include <exception>
#include <mutex>
#include <utility>
#include <vector>

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>

#include "reports/prometheus_families.h"

namespace reports {
namespace {

// One figure at a time is asked for by one Prometheus.
constexpr std::size_t threads = 1;

class Shown : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    const std::scoped_lock lock(mutex_);
    return families_;
  }
  void replace(std::vector<prometheus::MetricFamily> families) {
    const std::scoped_lock lock(mutex_);
    families_ = std::move(families);
  }

 private:
  mutable std::mutex mutex_;
  std::vector<prometheus::MetricFamily> families_;
};

}  // namespace

struct MetricsServer::State {
  std::shared_ptr<Shown> shown = std::make_shared<Shown>();
  std::unique_ptr<prometheus::Exposer> exposer;
};

MetricsServer::MetricsServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
MetricsServer::MetricsServer(MetricsServer&&) noexcept = default;
MetricsServer& MetricsServer::operator=(MetricsServer&&) noexcept = default;
MetricsServer::~MetricsServer() = default;

base::Result<MetricsServer> MetricsServer::start(const base::Endpoint& endpoint) {
  auto state = std::make_unique<State>();
  // The library says by an exception that it could not listen, and not why.
  try {
    state->exposer = std::make_unique<prometheus::Exposer>(endpoint.to_string(), threads);
  } catch (const std::exception&) {
    return base::fail_with_mend(base::ErrorKind::system,
                                fmt::format("cannot listen at {}", endpoint.to_string()),
                                "Name an address of this machine and a port that is free.");
  }
  state->exposer->RegisterCollectable(state->shown);
  return MetricsServer(std::move(state));
}

void MetricsServer::show(const Report& report) {
  state_->shown->replace(prometheus_families(report));
}

}  // namespace reports
