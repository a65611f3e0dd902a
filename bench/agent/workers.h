// The worker processes of an agent, one for each job: started, listened to, stopped, and answered
// for, however they end.
//
// They are forked here, which wants a process without threads, and watched by their supervisor's
// poll(2).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <poll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/result.h"
#include "bench/agent/line.h"
#include "bench/agent/protocol.h"

namespace bench {

class Workers {
 public:
  // `stop_grace`: how long one may take to end once it is stopped, before it is killed. `say` takes
  // every answer to a job: started, ready, and in the end one result or error.
  Workers(base::Duration stop_grace, std::function<void(Message)> say)
      : stop_grace_(stop_grace), say_(std::move(say)) {}

  // Checks the job, starts its worker and hands the job over. Errors: input (a job that cannot be,
  // or too many), system; nothing has been said then.
  [[nodiscard]] base::Result<> start(const Command& command);
  // Tells a job to end; it is answered when it has. False when no such job runs.
  bool stop(std::uint64_t id);
  // Ends it by SIGKILL, as a crash would. False when no such job runs.
  bool kill(std::uint64_t id);
  // Stops every job that is not being stopped; that is its answer, whatever it says itself.
  void stop_all(const base::Error& cause);
  // Kills and forgets all of them, without an answer.
  void clear() { workers_.clear(); }

  // Whether a job runs that nobody has stopped.
  [[nodiscard]] bool busy() const;
  // Whether one of them is a server.
  [[nodiscard]] bool any_serves() const;
  // Whether it is one of ours, and so reaped here.
  [[nodiscard]] bool owns(pid_t pid) const;

  // Appends what poll(2) is to watch; handle() takes the same entries afterwards. Nothing may start
  // or end a job in between.
  void watch(std::vector<pollfd>& watched) const;
  void handle(std::span<const pollfd> watched);
  // When enforce_deadlines() has something to do.
  [[nodiscard]] std::optional<base::MonotonicTime> next_deadline() const;
  void enforce_deadlines();

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

  void stop(Worker& worker) const;
  void answer_error(std::uint64_t id, base::Error error) const;
  void handle_output(std::uint64_t id, Worker& worker);
  void handle_line(std::uint64_t id, Worker& worker, const Line& line);
  // Reads the rest, reaps, and answers. The worker is gone afterwards, and its ports are free.
  void handle_end(std::uint64_t id, Worker& worker);

  base::Duration stop_grace_;
  std::function<void(Message)> say_;
  std::map<std::uint64_t, Worker> workers_;
};

}  // namespace bench
