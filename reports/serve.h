// A run's figures while it goes on, for a Prometheus to scrape: an HTTP server at /metrics.
#pragma once

#include <memory>

#include "base/address.h"
#include "base/result.h"
#include "reports/record.h"

namespace reports {

class MetricsServer {
 public:
  // Listens; until show() is called it serves figures of the server itself alone. Errors: system
  // (the address is not ours, or is taken).
  static base::Result<MetricsServer> start(const base::Endpoint& endpoint);

  MetricsServer(MetricsServer&&) noexcept;
  MetricsServer& operator=(MetricsServer&&) noexcept;
  // Closes it; a scrape under way ends first.
  ~MetricsServer();

  // From here on it serves this report's figures instead of those before. Any thread; scrapes are
  // answered by the server's own.
  void show(const Report& report);

 private:
  struct State;
  explicit MetricsServer(std::unique_ptr<State> state);

  std::unique_ptr<State> state_;
};

}  // namespace reports
