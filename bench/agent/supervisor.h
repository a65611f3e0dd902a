// The agent's main loop: reads commands, starts a worker process for every job, forwards what the
// workers say, and outlives their crashes.
//
// On stdin and stdout it has one controller and ends with it. Listening, it has one at a time: one
// that comes takes over from the one before, whose stream may be dead without anybody knowing, and
// the older stream is closed. What ran for the older goes on until the newer has said, by its first
// command, whether it is the same controller come back (protocol.h) or another, for whom everything
// begins anew. A controller that names no session cannot come back: its jobs end with its stream.
//
// One thread around poll(2) and no Asio: it watches a few dozen descriptors, most of the time
// nothing happens, and workers are forked here, which wants a process without threads and without
// a reactor's hidden descriptors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "bench/agent/controller_stream.h"
#include "bench/agent/kept_answers.h"
#include "bench/agent/listener.h"
#include "bench/agent/protocol.h"
#include "bench/agent/workers.h"

namespace bench {

struct SupervisorOptions {
  // Without a line from the controller for this long, running jobs are stopped.
  base::Duration idle_after = default_idle_after;
  // Listening: without a line from any controller for this long, the agent ends. 0: it never does.
  base::Duration leave_after{0};
  // How long a worker may take to end once it is stopped, before it is killed.
  base::Duration stop_grace = std::chrono::seconds(5);
  // How often a session's controller is told that we are there.
  base::Duration heartbeat = heartbeat_interval;
  // What is kept at most of what a session's controller may have missed.
  std::size_t most_kept = std::size_t{32} << 20;
  // Listening: what it does before any controller comes.
  std::optional<AgentPlan> plan = {};
};

// What a listening agent watches beside its controller; the descriptors stay the caller's.
struct ListeningOn {
  Listener& listener;
  int stop_fd;      // readable: the agent ends, or drains if it serves
  int children_fd;  // a signalfd of SIGCHLD: as process 1 it reaps orphans of its pid namespace
};

class Supervisor {
 public:
  // `in` and `out` are the controller's streams; they stay the caller's.
  Supervisor(int in, int out, const SupervisorOptions& options);
  Supervisor(const ListeningOn& listening, const SupervisorOptions& options);
  Supervisor(const Supervisor&) = delete;  // its workers speak through it
  Supervisor& operator=(const Supervisor&) = delete;
  ~Supervisor() = default;

  // Greets, then serves until `in` ends or, listening, until it is to stop; and ends every worker.
  // One that is to stop while a server of its controller's runs drains as a pod does that is being
  // deleted: it goes on until that controller leaves. Whoever sent SIGTERM bounds that.
  // Errors: peer_lost when the controller on `out` stops reading, system.
  [[nodiscard]] base::Result<> run();

 private:
  void greet();
  // The message as a line, kept where its command's answers are.
  [[nodiscard]] std::string kept_line(Message message);
  void say(Message message);
  void say_of_job(Message message);
  void answer_error(std::optional<std::uint64_t> id, base::Error error);
  // Takes a controller that has come, and leaves the one before.
  [[nodiscard]] base::Result<> accept();
  // Without its stream a controller is gone, or may come back.
  void lose_controller();
  void begin_session(std::string name);
  // Carries out a plan, as if its controller had been here and its stream had broken.
  void follow(const AgentPlan& plan);
  void attach(const Command& command);
  void handle_line(const Line& line);
  void handle_command(const Command& command);
  // Carries out a command that the session has not had before.
  void carry_out(const Command& command);
  void end_job(const Command& command);
  // Without a line from a controller for long, traffic stops.
  void stop_when_idle();
  // Whether nobody has said anything for as long as it stays for.
  [[nodiscard]] bool is_left_alone() const;
  [[nodiscard]] std::optional<base::MonotonicTime> next_deadline() const;
  [[nodiscard]] base::Result<> flush();
  // Returns false at the end of a stream that is not replaced.
  [[nodiscard]] base::Result<bool> read_commands();
  // Waits for the next event and handles it. Returns false when this is the end.
  [[nodiscard]] base::Result<bool> turn();
  // Whether there is a controller that could come back.
  [[nodiscard]] bool in_session() const;
  void beat();
  // Told to stop: whether this is the end now.
  [[nodiscard]] bool ends_now();
  void reap_orphans();

  SupervisorOptions options_;
  std::optional<ListeningOn> listening_;
  std::optional<ControllerStream> controller_;
  KeptAnswers kept_;
  std::string instance_ = made_up_name();
  Workers workers_;
  base::MonotonicTime last_line_;
  base::MonotonicTime next_beat_;
  bool draining_ = false;
};

}  // namespace bench
