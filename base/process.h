// Child processes: started with chosen descriptors, watched through a pidfd, never left behind as
// zombies or orphans; and run(), which runs a tool to its end within bounds of time and output.
//
// A child gets its own process group, so that Ctrl-C at the terminal reaches only us and we end
// things in order; it inherits no descriptor but 0, 1 and 2, an empty signal mask and SIGPIPE's
// default. Threads: a Process belongs to one thread at a time.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace base {

// How a process ended.
struct ExitStatus {
  int code = 0;    // of exit(2), when it was not ended by a signal
  int signal = 0;  // that ended it, or 0

  bool operator==(const ExitStatus&) const = default;
  [[nodiscard]] bool success() const { return code == 0 && signal == 0; }
  // "exit code 3", "signal 9 (Killed)".
  [[nodiscard]] std::string to_string() const;
};

// Where one of a child's standard descriptors goes.
struct Stdio {
  enum class Kind { null, inherit, pipe, descriptor };
  Kind kind = Kind::null;
  int fd = -1;

  static Stdio null() { return {Kind::null}; }        // /dev/null
  static Stdio inherit() { return {Kind::inherit}; }  // ours
  static Stdio pipe() { return {Kind::pipe}; }        // a pipe whose other end the Process holds
  // An open descriptor; it stays the caller's and may be closed after spawn().
  static Stdio descriptor(int fd) { return {Kind::descriptor, fd}; }
};

struct SpawnOptions {
  std::vector<std::string> argv;  // argv[0] is a path, or a name that find_program() finds
  std::optional<std::vector<std::string>> environment = {};  // "NAME=value"; absent: ours
  std::string directory = {};                                // empty: ours
  Stdio in = Stdio::null();
  Stdio out = Stdio::inherit();
  Stdio err = Stdio::inherit();
  // SIGKILL to the child when the thread that called spawn() ends, even by SIGKILL.
  bool die_with_parent = true;
  // Runs in the child after fork(2), with its descriptors in place, before exec (setns, unshare,
  // sched_setaffinity). Its error becomes spawn()'s. Where we have other threads it may only use
  // what those cannot hold locked: system calls and malloc, no stdio.
  std::function<Result<>()> before_exec = {};
  // After before_exec the program becomes another child of ours, made by the first one with
  // CLONE_PARENT: setns(2) into a PID namespace holds only for children made afterwards, and so the
  // program is inside it and ours to wait for. The namespace's end is its end: die_with_parent is
  // then not looked at.
  bool enters_pid_namespace = false;
};

// A running (or ended, not yet asked about) child. Destroying it kills its process group and reaps
// it.
class Process {
 public:
  // Returns once the program runs (exec succeeded). Errors: missing ("nft: not found in PATH"),
  // not_permitted, system, or what before_exec returned.
  static Result<Process> spawn(const SpawnOptions& options);

  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process();

  [[nodiscard]] pid_t pid() const { return pid_; }
  // Readable once the child has ended; for poll(2). Ownership stays here.
  [[nodiscard]] int pidfd() const { return pidfd_.get(); }
  // Our ends of Stdio::pipe(), close-on-exec and blocking; empty for the other kinds. The caller
  // may move them away or close them.
  UniqueFd in;
  UniqueFd out;
  UniqueFd err;

  // Waits for the end and reaps; asked again it answers the same. A zero timeout only looks.
  // Errors: timed_out, system.
  Result<ExitStatus> wait(Duration timeout);
  // Sends a signal to the child alone. No error when it has ended already. Errors: system.
  Result<> signal(int number);
  // Lets it go on without us: it is neither killed nor waited for any more. Its pipes stay ours.
  void detach();
  // SIGKILL to its whole process group, then reaps. Errors: timed_out when the kernel does not let
  // go of it within 5 s, system.
  Result<ExitStatus> kill();

 private:
  Process(pid_t pid, UniqueFd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}

  pid_t pid_ = -1;
  UniqueFd pidfd_;
  std::optional<ExitStatus> ended_;
};

// The path of a program: `name` itself when it holds a slash, else looked up in PATH and then in
// /usr/sbin and /sbin, which users' PATHs leave out and network tools live in.
// Errors: missing, "nft: not found in PATH".
[[nodiscard]] Result<std::string> find_program(std::string_view name);

struct RunOptions {
  std::string stdin_text = {};
  Duration timeout = std::chrono::seconds(30);
  std::size_t output_limit = std::size_t{16} << 20;  // bytes of stdout, and of stderr
  int interrupt_fd = -1;  // ends the wait when readable (base/interrupt.h)
  std::optional<std::vector<std::string>> environment = {};
  std::string directory = {};
  std::function<Result<>()> before_exec = {};  // as SpawnOptions
  bool enters_pid_namespace = false;           // as SpawnOptions
};

struct RunResult {
  ExitStatus status;
  std::string out;
  std::string err;
};

// Runs a program to its end. A status other than success is a value here, not an Error. Processes
// it left running are killed with its group. Errors: as spawn(); timed_out, interrupted, system
// (output over the limit); after each of them nothing runs any more.
[[nodiscard]] Result<RunResult> run(const std::vector<std::string>& argv,
                                    const RunOptions& options = {});

// The same for a program that must succeed: its stdout. Errors: as run(), and system with the end
// of its stderr: "nft -f -: exit code 1: Error: syntax error".
[[nodiscard]] Result<std::string> run_for_output(const std::vector<std::string>& argv,
                                                 const RunOptions& options = {});

}  // namespace base
