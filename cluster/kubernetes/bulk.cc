#include "cluster/kubernetes/bulk.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace cluster {

// An API server takes writes one after another into its store: more of them at once only wait
// there.
constexpr std::size_t most_at_once = 6;

base::Result<> for_each_request(
    const ApiOptions& api, std::size_t count,
    const std::function<base::Result<>(ApiClient& api, std::size_t index)>& work) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  base::Result<> outcome;  // guarded by mutex
  const auto run = [&] {
    ApiClient client(api);
    for (std::size_t index = next++; index < count; index = next++) {
      auto done = work(client, index);
      if (done) continue;
      const std::lock_guard lock(mutex);
      if (outcome) outcome = std::move(done);
      next = count;
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < std::min(count, most_at_once); ++i) helpers.emplace_back(run);
    run();
  }
  return outcome;
}

}  // namespace cluster
