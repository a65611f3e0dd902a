#include "bench/agent/controller_stream.h"

#include <tuple>

namespace bench {
namespace {

// What may wait for a controller that does not read.
constexpr std::size_t most_pending = std::size_t{64} << 20;

}  // namespace

base::Result<> ControllerStream::flush() {
  auto written = write_some(out_, pending_);
  if (!written) return base::in_context(std::move(written).error(), "the controller's stream");
  pending_.erase(0, *written);
  if (pending_.size() > most_pending) {
    return base::fail(base::ErrorKind::peer_lost,
                      "the controller does not read: {} bytes wait for it", pending_.size());
  }
  return {};
}

void ControllerStream::flush_until(base::MonotonicTime deadline) {
  std::ignore = write_whole(out_, pending_, deadline, -1);
}

}  // namespace bench
