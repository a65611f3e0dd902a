// A machine within the machine: the init of a new PID namespace, with a mount namespace of its own
// (private /run, /proc and /sys) and an empty network namespace, so that whatever runs inside has
// no way to the host's interfaces and all of it ends with the process that made it, even by
// SIGKILL. Named network namespaces inside are bound below the private /run/netns: they exist for
// nobody else, and `nsenter -t PID -m -n ip netns` shows them to a person.
//
// What ends it: init blocks in read(2) on a pipe whose only other end the maker holds; its end of
// file is the maker's death. (PR_SET_PDEATHSIG would fire when the *thread* that forked ends.)
// When the init of a PID namespace ends, the kernel kills everything in it (pid_namespaces(7)).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/fd.h"
#include "base/process.h"
#include "base/result.h"
#include "cluster/fabric/init.h"

namespace cluster {

// A network namespace inside a sandbox, held open: it lives as long as the sandbox or this.
class Netns {
 public:
  Netns(std::string name, base::UniqueFd fd) : name_(std::move(name)), fd_(std::move(fd)) {}

  // As `ip -n NAME` inside the sandbox takes it.
  [[nodiscard]] const std::string& name() const { return name_; }
  // For setns(2). Ownership stays here.
  [[nodiscard]] int fd() const { return fd_.get(); }

 private:
  std::string name_;
  base::UniqueFd fd_;
};

// Where inside a sandbox a process starts.
struct Place {
  int netns = -1;           // a Netns's descriptor; -1: the sandbox's own, empty one
  std::string cgroup = {};  // a cgroup2 directory; empty: our own cgroup
};

class Sandbox;

// What a sandbox has beside what every one has.
struct SandboxOptions {
  // A sandbox to make it in: its mounts start as that one's, and it ends with that one at the
  // latest. Must outlive it. Null: it is made where we are.
  const Sandbox* within = nullptr;
  int netns = -1;      // a Netns's descriptor, of `within`; -1: a new, empty one
  InitPlan init = {};  // a host name makes a UTS namespace of its own
};

// Calls come from one thread at a time. Every Process started in it should be gone before it: the
// kernel lets a PID namespace's init end only after each of its processes has been waited for.
class Sandbox {
 public:
  // Errors: not_permitted (with what is needed), system; each names the step.
  static base::Result<Sandbox> create(const SandboxOptions& options = {});

  Sandbox(Sandbox&&) noexcept = default;
  Sandbox& operator=(Sandbox&&) = delete;
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;
  // As end(); an error then has nobody to go to.
  ~Sandbox();

  // Ends every process inside, and with them the namespaces. Idempotent. Errors: timed_out, when
  // init is not gone within 10 s (a Process of ours still holds one of its children).
  base::Result<> end();

  // Init's pid in our PID namespace.
  [[nodiscard]] pid_t init() const { return init_; }

  // Makes network namespaces of these names (unique in the sandbox), with lo down and nothing else.
  // Errors: missing (ip), system; on an error none of them is left.
  base::Result<std::vector<Netns>> make_netns(const std::vector<std::string>& names) const;
  // Takes their names away; each namespace ends with its last descriptor and process.
  // Errors: missing (ip), system.
  base::Result<> remove_netns(const std::vector<std::string>& names) const;

  // Process::spawn() inside: our own child, in the sandbox's PID and mount namespaces and in
  // `place`, its working directory `/`, its session ours but not its process group.
  // options.before_exec and enters_pid_namespace are used for that. Errors: as Process::spawn().
  base::Result<base::Process> spawn(base::SpawnOptions options, const Place& place) const;
  // base::run_for_output() inside, with `input` on stdin. Errors: as base::run_for_output().
  base::Result<std::string> run(const Place& place, const std::vector<std::string>& argv,
                                std::string_view input = {},
                                base::Duration timeout = std::chrono::seconds(30)) const;
  // One `ip -batch` for all the lines. Errors: as run(), with ip's own words and line number.
  base::Result<> ip(const Place& place, std::string_view batch) const;

  // Runs `work` on a thread of its own that has entered the sandbox's mount namespace and `netns`
  // (-1: the sandbox's own);
  // sockets opened there stay there, and /proc/sys/net is that namespace's. Returns what `work`
  // returned. Errors: not_permitted, system.
  base::Result<> inside(int netns, const std::function<base::Result<>()>& work) const;

 private:
  // Makes the process that runs as init, our child, and returns its pidfd.
  static base::Result<base::UniqueFd> clone_init(const SandboxOptions& options, int alive_fd,
                                                 int report_fd);
  // inside(), having entered these namespaces (CLONE_NEW*) of the sandbox.
  base::Result<> on_a_thread_inside(int netns, int namespaces,
                                    const std::function<base::Result<>()>& work) const;

  Sandbox(pid_t init, base::UniqueFd pidfd, base::UniqueFd alive)
      : init_(init), pidfd_(std::move(pidfd)), alive_(std::move(alive)) {}

  pid_t init_ = -1;
  bool own_clock_ = false;  // a time namespace
  base::UniqueFd pidfd_;    // of init; empty once it is gone
  base::UniqueFd root_;     // init's root directory
  base::UniqueFd alive_;    // the pipe that init reads
};

// Writes sysctls ("net.ipv4.ip_forward" -> "1") where the calling thread is: call it from inside().
// Errors: system, naming the sysctl.
[[nodiscard]] base::Result<> write_sysctls(const std::map<std::string, std::string>& values);
// Reads one, without its newline. Errors: missing, system.
[[nodiscard]] base::Result<std::string> read_sysctl(const std::string& name);

}  // namespace cluster
