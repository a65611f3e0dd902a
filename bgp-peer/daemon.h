// A gobgpd of our own: a child process in a network namespace of the caller's choice, with a
// configuration made from a specification, spoken to over a unix socket, which knows no namespaces.
#pragma once

#include <functional>
#include <string>

#include <sys/types.h>

#include "base/clock.h"
#include "base/process.h"
#include "base/result.h"
#include "bgp-peer/client.h"
#include "bgp-peer/config.h"

namespace bgp_peer {

struct DaemonOptions {
  std::string program = {};  // empty: find_gobgpd()
  // A directory of the daemon's own, which must exist: its configuration, its socket and its log.
  // It has this path for the daemon, too.
  std::string directory = {};
  // Starts the program where it is to run: in_netns(), or a sandbox's spawn.
  std::function<base::Result<base::Process>(base::SpawnOptions)> spawn = base::Process::spawn;
  // Tells neighbours that it comes back from a restart (the R bit of RFC 4724).
  bool restarting = false;
  base::Duration patience = std::chrono::seconds(10);  // until it is ready
};

// Spawns in a network namespace, given by a descriptor that must live as long.
[[nodiscard]] std::function<base::Result<base::Process>(base::SpawnOptions)> in_netns(int netns);

// The path of gobgpd: the one that ./bootstrap test unpacked beside this program (build/tools),
// else in PATH. Errors: missing, with how to get it.
[[nodiscard]] base::Result<std::string> find_gobgpd();

// Calls come from one thread at a time. The thread that starts it must live as long: the kernel
// ends a child with the thread that made it (base::SpawnOptions::die_with_parent).
class Daemon {
 public:
  // Returns once its API answers and has all that the specification says. Errors: as check();
  // missing, not_permitted; system, with the end of its log, when it ends or is not ready in time.
  static base::Result<Daemon> start(const DaemonSpec& spec, const DaemonOptions& options);

  Daemon(Daemon&&) noexcept = default;
  Daemon& operator=(Daemon&&) noexcept = default;
  // As kill().
  ~Daemon() = default;

  [[nodiscard]] const Client& client() const { return client_; }
  // As Client::connect() takes it.
  [[nodiscard]] const std::string& address() const { return client_.address(); }
  [[nodiscard]] pid_t pid() const { return process_.pid(); }
  // For poll(2): readable once it has ended.
  [[nodiscard]] int pidfd() const { return process_.pidfd(); }
  // The path of its log, one JSON object a line.
  [[nodiscard]] const std::string& log() const { return log_; }

  // SIGTERM: it tells its neighbours that it goes (NOTIFICATION, cease), so that they drop its
  // routes at once, whatever was said of graceful restarts. Errors: timed_out, system.
  base::Result<> stop();
  // SIGKILL: its neighbours see their connections closed, no more. Errors: timed_out, system.
  base::Result<> kill();
  // SIGSTOP and SIGCONT: it falls silent with its connections open. Errors: system.
  base::Result<> freeze();
  base::Result<> thaw();

 private:
  Daemon(base::Process process, Client client, std::string log)
      : process_(std::move(process)), client_(std::move(client)), log_(std::move(log)) {}

  base::Process process_;
  Client client_;
  std::string log_;
};

}  // namespace bgp_peer
