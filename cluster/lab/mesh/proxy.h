// One proxy of a lab: a real Envoy beside a pod, in its network namespace, as the user whose
// traffic interception leaves alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/fd.h"
#include "base/interrupt.h"
#include "base/process.h"
#include "base/result.h"
#include "cluster/fabric/sandbox.h"
#include "cluster/lab/mesh/envoy_config.h"
#include "cluster/lab/mesh/find_envoy.h"
#include "cluster/mesh.h"
#include "cluster/pki/pki.h"

namespace cluster {

struct ProxyOptions {
  std::string program;  // as the sandbox sees it, for its user to run
  int workers = 1;
  int cpu = -1;  // the core all of its threads are pinned to; -1: any
  Place place;   // the pod's namespace, and a cgroup of the proxy's own
  const base::Interrupt* interrupt = nullptr;  // outlives it; absent: nobody interrupts a wait
};

// Calls come from one thread. The sandbox outlives it.
class Proxy {
 public:
  // Starts it with its files and returns at once. Errors: as Sandbox::spawn(); system.
  static base::Result<Proxy> start(const Sandbox& sandbox, const ProxySpec& spec,
                                   const pki::KeyPair& identity, const std::string& root,
                                   const ProxyOptions& options);

  // Waits until it serves: both listeners are up, and it says that its configuration is the last
  // one it was given. Errors: system with its own last words, when it ends, refuses the
  // configuration or is not ready in time; interrupted.
  base::Result<> await();
  // Gives it another configuration, where it is another; await() tells when it has it. Errors:
  // system.
  base::Result<> update(const ProxySpec& spec);
  // Ends it by a signal, and waits until it is gone. Errors: timed_out, system.
  base::Result<> end(int signal);
  // Gives it another key and certificate, or other roots to trust (PEM, one after the other),
  // as a kubelet renews a mounted Secret: at one instant, which it notices by itself. Errors:
  // system.
  base::Result<> renew(const pki::KeyPair& identity, const std::string& roots);
  // Waits until no connection to or from another proxy is open. Errors: timed_out, naming those
  // that are; system, when it ended; interrupted.
  base::Result<> await_no_connections();

  // What it has used, and what it counted. Errors: system, timed_out.
  [[nodiscard]] base::Result<ProxyUsage> usage() const;
  [[nodiscard]] base::Result<ProxyCounters> counters() const;

  [[nodiscard]] const ProxySpec& spec() const { return spec_; }
  // The authorities that it reads it is to trust, PEM. Errors: system.
  [[nodiscard]] base::Result<std::string> roots() const;
  // The files it runs by, as they are now.
  [[nodiscard]] base::Json files() const;
  [[nodiscard]] pid_t pid() const { return process_.pid(); }

 private:
  Proxy(const Sandbox& sandbox, ProxySpec spec, base::Process process, base::UniqueFd directory,
        base::UniqueFd errors, const ProxyOptions& options)
      : sandbox_(&sandbox),
        spec_(std::move(spec)),
        process_(std::move(process)),
        directory_(std::move(directory)),
        errors_(std::move(errors)),
        cgroup_(options.place.cgroup),
        interrupt_(options.interrupt),
        workers_(static_cast<std::uint64_t>(options.workers)) {}

  [[nodiscard]] base::Result<std::string> ask(const std::string& path) const;
  [[nodiscard]] std::string last_words() const;
  // Whether both listeners are up with the last configuration. Errors: system, it was refused.
  [[nodiscard]] base::Result<bool> serves() const;
  [[nodiscard]] base::Result<bool> has_no_connections() const;
  // Waits for one of these; `why_not` says what lacks where that is in vain.
  base::Result<> await(base::Result<bool> (Proxy::*there)() const,
                       const std::function<base::Error()>& why_not);

  const Sandbox* sandbox_;
  ProxySpec spec_;
  base::Process process_;
  base::UniqueFd directory_;  // of its files, seen from here
  base::UniqueFd errors_;     // what it writes to stderr
  std::string cgroup_;
  const base::Interrupt* interrupt_;
  std::uint64_t workers_;
  std::uint64_t version_ = 1;         // of its configuration
  std::uint64_t certificates_ = 1;    // how many times it was given some
  std::uint64_t refused_before_ = 0;  // what it refused until it was given its configuration
};

// Of Envoy's statistics, as its administration lists them ("name: value", one a line).
[[nodiscard]] ProxyCounters read_counters(std::string_view stats);
// How many connections to and from other proxies are open, by the same; and which, in words:
// "2 of outbound|8004||web.default.svc.cluster.local, 1 of inbound".
[[nodiscard]] std::uint64_t read_open_connections(std::string_view stats);
[[nodiscard]] std::string name_open_connections(std::string_view stats);
// How many configurations it refused or could not get since it began, by the same.
[[nodiscard]] std::uint64_t read_refusals(std::string_view stats);
// Of what it wrote to stderr, the last lines, at most 1,500 bytes; without the frames of a
// backtrace, before which it says why it ends.
[[nodiscard]] std::string read_last_words(std::string_view written);
// "abc/1.36.2/Clean/RELEASE/BoringSSL", of what `envoy --version` says. Errors: input, naming the
// program.
[[nodiscard]] base::Result<std::string> read_version(std::string_view said,
                                                     std::string_view program);
// Nanoseconds of `cpu.stat` of cgroup2. Errors: input.
[[nodiscard]] base::Result<std::int64_t> read_cpu_usage(std::string_view cpu_stat);

}  // namespace cluster
