#include "bench/agent/bridge.h"

#include <array>
#include <string>

#include <poll.h>
#include <unistd.h>

#include "bench/agent/line.h"

namespace bench {
namespace {

// One way of a bridge: what was read waits here until there is room for it.
struct Lane {
  int from;
  int to;
  std::string waiting = {};
  bool ended = false;

  [[nodiscard]] pollfd wants_input() const {
    return {.fd = ended || !waiting.empty() ? -1 : from, .events = POLLIN, .revents = 0};
  }
  [[nodiscard]] pollfd wants_room() const {
    return {.fd = waiting.empty() ? -1 : to, .events = POLLOUT, .revents = 0};
  }
  base::Result<> read() {
    std::array<char, 65536> chunk;
    const ssize_t count = ::read(from, chunk.data(), chunk.size());
    if (count > 0) waiting.assign(chunk.data(), static_cast<std::size_t>(count));
    if (count == 0 || (count < 0 && errno == ECONNRESET)) ended = true;
    if (count < 0 && errno != EINTR && errno != EAGAIN && errno != ECONNRESET) {
      return base::system_error(errno, "read");
    }
    return {};
  }
  base::Result<> write() {
    ASSIGN_OR_RETURN(const std::size_t written, write_some(to, waiting));
    waiting.erase(0, written);
    return {};
  }
};

}  // namespace

base::Result<bool> bridge(int in, int out, base::UniqueFd connection) {
  Lane commands{.from = in, .to = connection.get()};
  Lane answers{.from = connection.get(), .to = out};
  while (true) {
    if (commands.ended && commands.waiting.empty()) return true;
    if (answers.ended && answers.waiting.empty()) return false;
    std::array<pollfd, 4> watched{commands.wants_input(), commands.wants_room(),
                                  answers.wants_input(), answers.wants_room()};
    if (::poll(watched.data(), watched.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return base::system_error(errno, "poll");
    }
    if (watched[0].revents != 0) RETURN_IF_ERROR(commands.read());
    if (watched[2].revents != 0) RETURN_IF_ERROR(answers.read());
    // The agent's end shows where it is read, with what it said before.
    if (!commands.write()) commands.waiting.clear();
    if (!answers.waiting.empty()) RETURN_IF_ERROR(answers.write());
  }
}

}  // namespace bench
