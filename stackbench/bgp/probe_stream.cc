#include "stackbench/bgp/probe_stream.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <limits>
#include <mutex>
#include <thread>

#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "bench/reach/reach_frame.h"

namespace stackbench::bgp {
namespace {

using base::Result;
using base::UniqueFd;

// A responder that waits for a CPU answers late, and has lost nothing.
constexpr auto answer_patience = std::chrono::milliseconds(400);

Result<> enter(int netns) {
  if (::setns(netns, CLONE_NEWNET) < 0) return base::system_error(errno, "setns for probes");
  return {};
}

Result<UniqueFd> udp_socket(int family) {
  UniqueFd fd(::socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::system_error(errno, "socket for a probe");
  return fd;
}

}  // namespace

struct ProbeStream::State {
  int netns = -1;
  base::SocketAddress target;
  int family = AF_INET;
  UniqueFd epoll;
  std::atomic<bool> ends = false;
  mutable std::mutex mutex;
  std::vector<Probe> probes;
  // Sockets of those that may still be answered, the oldest first, by the index of their probe.
  std::deque<std::pair<std::size_t, UniqueFd>> open;
  std::thread thread;

  void send() {
    auto fd = udp_socket(family);
    std::size_t index = 0;
    {
      const std::lock_guard lock(mutex);
      index = probes.size();
      probes.push_back({.sent = base::monotonic_now()});
    }
    // A host out of sockets loses probes, and they are seen as lost.
    if (!fd || ::connect(fd->get(), target.get(), target.size()) < 0) return;
    epoll_event wanted{.events = EPOLLIN, .data = {.u64 = index}};
    ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd->get(), &wanted);
    // No route is an answer of its own: none.
    const bench::ReachQuestion question{.nonce = index};
    if (::send(fd->get(), &question, sizeof(question), 0) < 0) return;
    open.emplace_back(index, std::move(*fd));
  }

  void receive(std::size_t index) {
    const auto found =
        std::ranges::lower_bound(open, index, {}, [](const auto& one) { return one.first; });
    if (found == open.end() || found->first != index || !found->second) return;
    bench::ReachAnswer answer;
    // What the network says of it (unreachable) is no answer.
    const bool answered =
        ::recv(found->second.get(), &answer, sizeof(answer), 0) == sizeof(answer) &&
        answer.magic == bench::ReachAnswer::expected_magic && answer.nonce == index;
    const auto now = base::monotonic_now();
    found->second.reset();
    if (!answered) return;
    const std::lock_guard lock(mutex);
    probes[index].answered = now;
    probes[index].by = answer.server_id;
  }

  void forget_old() {
    const auto now = base::monotonic_now();
    while (!open.empty() && now - probes[open.front().first].sent > answer_patience) {
      // Where we waited for a CPU ourselves the answer may lie there.
      receive(open.front().first);
      open.pop_front();
    }
  }

  void run() {
    std::array<epoll_event, 64> ready{};
    auto due = base::monotonic_now();
    while (!ends) {
      const auto now = base::monotonic_now();
      if (now >= due) {
        send();
        // One that is late is not made up for.
        due = std::max(due + interval, now);
        forget_old();
        continue;
      }
      const auto wait = due - now;
      const timespec timeout{.tv_sec = 0, .tv_nsec = wait.count()};
      const int count = ::epoll_pwait2(epoll.get(), ready.data(), static_cast<int>(ready.size()),
                                       &timeout, nullptr);
      for (int i = 0; i < count; ++i) receive(ready.at(static_cast<std::size_t>(i)).data.u64);
    }
  }
};

ProbeStream::ProbeStream(std::unique_ptr<State> state) : state_(std::move(state)) {}
ProbeStream::ProbeStream(ProbeStream&&) noexcept = default;
ProbeStream::~ProbeStream() {
  if (!state_) return;
  state_->ends = true;
  state_->thread.join();
}

Result<ProbeStream> ProbeStream::start(int netns, const base::Endpoint& target) {
  auto state = std::make_unique<State>();
  state->netns = netns;
  state->target = base::SocketAddress(target);
  state->family = target.address.af();
  state->epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!state->epoll) return base::system_error(errno, "epoll_create1");
  auto* shared = state.get();
  Result<> entered;
  std::atomic<bool> ready = false;
  state->thread = std::thread([shared, &entered, &ready] {
    auto outcome = enter(shared->netns);
    const bool inside = outcome.has_value();
    entered = std::move(outcome);
    ready = true;
    ready.notify_one();
    if (inside) shared->run();
  });
  ready.wait(false);
  if (!entered) {
    state->thread.join();
    return std::unexpected(std::move(entered).error());
  }
  return ProbeStream(std::move(state));
}

std::vector<Probe> ProbeStream::probes() const {
  const std::lock_guard lock(state_->mutex);
  return state_->probes;
}

std::vector<Probe> ProbeStream::probes_since(base::MonotonicTime since) const {
  const std::lock_guard lock(state_->mutex);
  const auto& all = state_->probes;
  return {std::ranges::lower_bound(all, since, {}, &Probe::sent), all.end()};
}

Losses losses_of(std::span<const Probe> probes) {
  constexpr auto gap = answers_in_a_row * ProbeStream::interval;
  Losses losses;
  const Probe* first = nullptr;
  const Probe* last = nullptr;
  const auto end_outage = [&] {
    if (first == nullptr) return;
    ++losses.outages;
    losses.ns += (last->sent - first->sent + ProbeStream::interval).count();
    first = nullptr;
  };
  for (const auto& probe : probes) {
    if (probe.answered) continue;
    ++losses.lost;
    if (first != nullptr && probe.sent - last->sent > gap) end_outage();
    if (first == nullptr) first = &probe;
    last = &probe;
  }
  end_outage();
  return losses;
}

bool answers_hold(std::span<const Probe> probes, base::MonotonicTime since) {
  std::size_t in_a_row = 0;
  for (std::size_t i = probes.size(); i-- > 0 && probes[i].sent >= since;) {
    if (probes[i].answered) {
      if (++in_a_row == answers_in_a_row) return true;
    } else if (in_a_row > 0) {
      return false;
    }
  }
  return false;
}

struct Responder::State {
  UniqueFd socket;
  UniqueFd end;
  std::uint32_t id = 0;
  std::atomic<std::int64_t> opens_ns = 0;
  std::thread thread;

  void run() const {
    std::array<pollfd, 2> watched{{{.fd = socket.get(), .events = POLLIN, .revents = 0},
                                   {.fd = end.get(), .events = POLLIN, .revents = 0}}};
    while (::poll(watched.data(), watched.size(), -1) >= 0 || errno == EINTR) {
      if (watched[1].revents != 0) return;
      sockaddr_storage from{};
      socklen_t size = sizeof(from);
      bench::ReachQuestion asked;
      while (::recvfrom(socket.get(), &asked, sizeof(asked), 0, reinterpret_cast<sockaddr*>(&from),
                        &size) >= 0) {
        if (base::monotonic_now().ns >= opens_ns) {
          const bench::ReachAnswer answer{.server_id = id, .nonce = asked.nonce};
          ::sendto(socket.get(), &answer, sizeof(answer), 0, reinterpret_cast<sockaddr*>(&from),
                   size);
        }
        size = sizeof(from);
      }
    }
  }
};

Responder::Responder(std::unique_ptr<State> state) : state_(std::move(state)) {}
Responder::Responder(Responder&&) noexcept = default;
Responder::~Responder() {
  if (!state_) return;
  ::eventfd_write(state_->end.get(), 1);
  state_->thread.join();
}

void Responder::open_at(base::MonotonicTime time) const { state_->opens_ns = time.ns; }

Result<Responder> Responder::start(int netns, const base::Endpoint& endpoint, std::uint32_t id) {
  auto state = std::make_unique<State>();
  state->id = id;
  state->end.reset(::eventfd(0, EFD_CLOEXEC));
  if (!state->end) return base::system_error(errno, "eventfd");
  Result<> outcome;
  std::thread([&] {
    outcome = enter(netns);
    if (!outcome) return;
    auto fd = udp_socket(endpoint.address.af());
    const base::SocketAddress address(endpoint);
    if (!fd) {
      outcome = std::unexpected(std::move(fd).error());
    } else if (::bind(fd->get(), address.get(), address.size()) < 0) {
      outcome = base::system_error(errno, "bind {}", endpoint);
    } else {
      state->socket = std::move(*fd);
    }
  }).join();
  RETURN_IF_ERROR(outcome);
  auto* shared = state.get();
  state->thread = std::thread([shared] { shared->run(); });
  return Responder(std::move(state));
}

}  // namespace stackbench::bgp
