// The agent's main loop: reads commands, starts a worker process for every job, forwards what the
// workers say, and outlives their crashes.
//
// One thread around poll(2) and no Asio: it watches a few dozen descriptors, most of the time
// nothing happens, and workers are forked here, which wants a process without threads and without
// a reactor's hidden descriptors.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/result.h"
#include "bench/agent/line.h"
#include "bench/agent/protocol.h"

namespace bench {

struct SupervisorOptions {
  // Without a line from the controller for this long, running jobs are stopped.
  base::Duration idle_after = default_idle_after;
  // How long a worker may take to end once it is stopped, before it is killed.
  base::Duration stop_grace = std::chrono::seconds(5);
};

class Supervisor {
 public:
  // `in` and `out` are the controller's streams; they stay the caller's.
  Supervisor(int in, int out, const SupervisorOptions& options);

  // Greets, then serves until `in` ends, and ends every worker. Errors: peer_lost when the
  // controller stops reading, system.
  [[nodiscard]] base::Result<> run();

 private:
  struct Worker {
    CommandType type;
    base::Process process;
    base::UniqueFd job;  // closing it is the stop
    LineReader lines{longest_message};
    std::string last_words = {};  // the end of its stderr
    std::optional<base::MonotonicTime> deadline = {};
    std::string overdue = {};               // what to say when it is killed at the deadline
    std::optional<base::Error> cause = {};  // why we ended it: the answer whatever it says itself
    std::optional<base::Json> result = {};
    std::optional<WireError> error = {};
  };

  void say(Message message);
  void answer_error(std::optional<std::uint64_t> id, base::Error error);
  void handle_line(const Line& line);
  void handle_command(const Command& command);
  // Checks the job, starts its worker and hands the job over.
  [[nodiscard]] base::Result<> start(const Command& command);
  void stop(Worker& worker);
  // Kills a worker; its answer will be `cause`.
  void kill(Worker& worker, base::Error cause);
  void handle_worker_output(std::uint64_t id, Worker& worker);
  void handle_worker_line(std::uint64_t id, Worker& worker, const Line& line);
  // Reads the rest, reaps, and answers. The worker is gone afterwards, and its ports are free.
  void handle_worker_end(std::uint64_t id, Worker& worker);
  void enforce_deadlines();
  [[nodiscard]] std::optional<base::MonotonicTime> next_deadline() const;
  [[nodiscard]] base::Result<> flush();
  // Waits for the next event and handles it. Returns false at the end of `in`.
  [[nodiscard]] base::Result<bool> turn();

  int in_;
  int out_;
  SupervisorOptions options_;
  LineReader commands_{longest_command};
  std::string pending_;  // not yet written to out_
  std::map<std::uint64_t, Worker> workers_;
  base::MonotonicTime last_line_;
};

}  // namespace bench
