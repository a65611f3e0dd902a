#include "cluster/lab/mesh/put_in_force.h"

#include <array>
#include <cerrno>
#include <string_view>
#include <thread>

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/process.h"

namespace cluster {
namespace {

using base::Result;

constexpr std::string_view commit = "COMMIT\n";
// How long the kernel may take from the commit to its announcement: it is at once, or never.
constexpr int announced_within_ms = 1'000;
constexpr base::Duration ends_within = std::chrono::seconds(30);

// What is told of every change of a namespace's rules, from here on.
Result<base::UniqueFd> listen_for_rules(const Sandbox& sandbox, int netns) {
  base::UniqueFd fd;
  const auto open = [&]() -> Result<> {
    fd.reset(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER));
    if (!fd) return base::system_error(errno, "socket for what rules change");
    sockaddr_nl own{};
    own.nl_family = AF_NETLINK;
    own.nl_groups = 1U << (NFNLGRP_NFTABLES - 1);
    if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&own), sizeof(own)) < 0) {
      return base::system_error(errno, "bind for what rules change");
    }
    return {};
  };
  RETURN_IF_ERROR(sandbox.inside(netns, open));
  return fd;
}

Result<> write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const auto written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return base::system_error(errno, "giving iptables-restore its rules");
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 1024> chunk;
  for (;;) {
    const auto got = ::read(fd, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

}  // namespace

Result<StagedRules> StagedRules::stage(const Sandbox& sandbox, int netns,
                                       const std::string& rules) {
  ASSIGN_OR_RETURN(auto announced, listen_for_rules(sandbox, netns));
  ASSIGN_OR_RETURN(auto restore, sandbox.spawn({.argv = {"iptables-restore"},
                                                .in = base::Stdio::pipe(),
                                                .out = base::Stdio::null(),
                                                .err = base::Stdio::pipe()},
                                               {.netns = netns}));
  // It puts all of a table in force when it reads the line that is left out.
  RETURN_IF_ERROR(
      write_all(restore.in.get(), std::string_view(rules).substr(0, rules.size() - commit.size())));
  return StagedRules(std::move(announced), std::move(restore));
}

Result<base::MonotonicTime> StagedRules::put_in_force(std::optional<base::MonotonicTime> at) {
  if (at) {
    std::this_thread::sleep_until(
        std::chrono::steady_clock::time_point(std::chrono::nanoseconds(at->ns)));
  }
  const auto written = write_all(restore_.in.get(), commit);
  restore_.in.reset();
  pollfd change{.fd = announced_.get(), .events = POLLIN, .revents = 0};
  const bool told = written && ::poll(&change, 1, announced_within_ms) > 0;
  const auto told_at = base::monotonic_now();
  const auto words = read_all(restore_.err.get());
  ASSIGN_OR_RETURN(const auto status, restore_.wait(ends_within));
  if (!status.success()) {
    return base::fail(base::ErrorKind::system, "iptables-restore: {}: {}", status.to_string(),
                      words);
  }
  RETURN_IF_ERROR(written);
  return told ? told_at : base::monotonic_now();
}

}  // namespace cluster
