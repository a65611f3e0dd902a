#include "bgp-peer/daemon.h"

#include <algorithm>
#include <csignal>
#include <filesystem>

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include "base/file.h"

namespace bgp_peer {
namespace {

using base::ErrorKind;
using base::Result;

constexpr auto end_patience = std::chrono::seconds(5);
constexpr auto look_again = std::chrono::milliseconds(5);

// The last lines of what a daemon wrote to its log, which one before it may have begun: from byte
// `begin` on, for whoever has to find out what was wrong.
std::string last_words(const std::string& log, std::size_t begin) {
  constexpr std::size_t most = 1500;
  const auto text = base::read_file(log);
  if (!text || text->size() <= begin) return "";
  const auto own = text->substr(begin);
  return own.substr(own.size() > most ? own.find('\n', own.size() - most) + 1 : 0);
}

// What of the specification is not there yet, by name: gobgpd's API answers before its file is
// read, and its neighbours are not ours alone, as every node that dials in becomes one. Empty: all
// is.
Result<std::string> what_is_missing(const Client& client, const DaemonSpec& spec) {
  ASSIGN_OR_RETURN(const auto global, client.global());
  if (!global) return "BGP itself";
  ASSIGN_OR_RETURN(const auto peers, client.peers());
  for (const auto& neighbor : spec.neighbors) {
    if (std::ranges::find(peers, neighbor.address, &Peer::address) == peers.end()) {
      return fmt::format("neighbor {}", neighbor.address);
    }
  }
  ASSIGN_OR_RETURN(const auto dynamic, client.dynamic_neighbors());
  for (const auto& group : spec.dynamic_neighbors) {
    for (const auto& network : group.networks) {
      if (std::ranges::find(dynamic, network) == dynamic.end()) return network.to_string();
    }
  }
  return "";
}

// The configuration may hold passwords: nobody else reads it.
Result<> write_private(const std::string& path, std::string_view content) {
  std::error_code ignored;
  std::filesystem::remove(path, ignored);
  const base::UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file) return base::system_error(errno, "{}", path);
  while (!content.empty()) {
    const auto size = ::write(file.get(), content.data(), content.size());
    if (size < 0) return base::system_error(errno, "{}", path);
    content.remove_prefix(static_cast<std::size_t>(size));
  }
  return {};
}

Result<Client> connect_when_ready(base::Process& process, const DaemonSpec& spec,
                                  const std::string& address, const std::string& log,
                                  std::size_t log_begin, base::Duration patience) {
  const auto give_up = base::monotonic_now() + patience;
  std::optional<Client> client;
  std::string why = "it has not begun";
  for (;;) {
    if (!client) {
      if (auto connected = Client::connect(address)) {
        client.emplace(std::move(*connected));
      } else {
        why = connected.error().message;
      }
    }
    if (client) {
      const auto missing = what_is_missing(*client, spec);
      if (missing && missing->empty()) return std::move(*client);
      why = missing ? "it has not yet " + *missing : missing.error().message;
    }
    const auto ended = process.wait(look_again);
    if (ended) {
      return base::fail_with_mend(ErrorKind::system,
                                  fmt::format("gobgpd ended with {}", ended->to_string()),
                                  "Its last words:\n" + last_words(log, log_begin));
    }
    if (ended.error().kind != ErrorKind::timed_out) return std::unexpected(ended.error());
    if (base::monotonic_now() > give_up) {
      return base::fail_with_mend(ErrorKind::timed_out, "gobgpd is not ready: " + why,
                                  "Its last words:\n" + last_words(log, log_begin));
    }
  }
}

}  // namespace

std::function<Result<base::Process>(base::SpawnOptions)> in_netns(int netns) {
  return [netns](base::SpawnOptions options) {
    options.before_exec = [netns, before = std::move(options.before_exec)]() -> Result<> {
      if (::setns(netns, CLONE_NEWNET) < 0) return base::system_error(errno, "setns");
      return before ? before() : Result<>();
    };
    return base::Process::spawn(options);
  };
}

Result<std::string> find_gobgpd() {
  // build/<preset>/bin or tests, and build/tools beside the presets.
  std::error_code problem;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", problem);
  if (!problem) {
    const auto unpacked =
        self.parent_path().parent_path().parent_path() / "tools/gobgpd/usr/bin/gobgpd";
    if (std::filesystem::exists(unpacked, problem)) return unpacked.string();
  }
  auto found = base::find_program("gobgpd");
  if (!found) {
    found.error().mend =
        "./bootstrap test unpacks Debian's gobgpd without starting it (build and run do not); or "
        "install gobgpd 3 and keep its service from starting.";
  }
  return found;
}

Result<Daemon> Daemon::start(const DaemonSpec& spec, const DaemonOptions& options) {
  RETURN_IF_ERROR(check(spec));
  auto program = options.program;
  if (program.empty()) {
    ASSIGN_OR_RETURN(program, find_gobgpd());
  }
  const auto config = options.directory + "/gobgpd.json";
  const auto socket = options.directory + "/gobgpd.sock";
  const auto log = options.directory + "/gobgpd.log";
  RETURN_IF_ERROR(write_private(config, base::dump_json_pretty(configuration(spec))));
  // One that was killed left it, and it would stand in the way.
  std::error_code ignored;
  std::filesystem::remove(socket, ignored);
  const base::UniqueFd output(::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!output) return base::system_error(errno, "{}", log);
  struct stat before{};
  if (::fstat(output.get(), &before) < 0) return base::system_error(errno, "{}", log);
  // Its profiler would listen on a port of its own.
  std::vector<std::string> argv{program, "--config-file",   config,        "--config-type",
                                "json",  "--pprof-disable", "--api-hosts", "unix://" + socket};
  if (options.restarting) argv.emplace_back("--graceful-restart");
  ASSIGN_OR_RETURN(auto process, options.spawn({.argv = std::move(argv),
                                                .out = base::Stdio::descriptor(output.get()),
                                                .err = base::Stdio::descriptor(output.get())}));
  ASSIGN_OR_RETURN(auto client,
                   connect_when_ready(process, spec, "unix:" + socket, log,
                                      static_cast<std::size_t>(before.st_size), options.patience));
  return Daemon(std::move(process), std::move(client), log);
}

Result<> Daemon::stop() {
  RETURN_IF_ERROR(process_.signal(SIGTERM));
  RETURN_IF_ERROR(process_.wait(end_patience));
  return {};
}

Result<> Daemon::kill() {
  RETURN_IF_ERROR(process_.kill());
  return {};
}

Result<> Daemon::freeze() { return process_.signal(SIGSTOP); }

Result<> Daemon::thaw() { return process_.signal(SIGCONT); }

}  // namespace bgp_peer
