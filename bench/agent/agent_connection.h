// The controller's end of an agent's stream: commands out, answers in, sorted by the job they
// belong to; and where the stream can be had again, the session that outlives it.
//
// A stream that broke is replaced within one deadline, whatever call noticed it, and the caller
// does not hear of it: commands that never arrived are sent again, what the agent had said is said
// again. What cannot be replaced ends in peer_lost, which every further call returns.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/interrupt.h"
#include "base/result.h"
#include "bench/agent/client.h"
#include "bench/agent/command_stream.h"
#include "bench/agent/line.h"
#include "bench/agent/protocol.h"

namespace bench {

// A command that was sent, and what has come of it.
struct SentCommand {
  std::string what;              // for errors: "serve", "tcp_rr to 10.0.0.1:80"
  base::MonotonicTime deadline;  // of what it is to say next
  std::string line = {};         // as it was sent, where it may have to be sent again
  std::string stop_line = {};    // the same of the stop that was sent after it
  std::optional<int> worker_pid = {};
  std::optional<std::vector<base::Endpoint>> ready = {};
  std::optional<base::Json> result = {};
  std::optional<WireError> error = {};
  // The agent's stamp, our receipt.
  std::optional<std::pair<base::MonotonicTime, base::MonotonicTime>> pong = {};

  [[nodiscard]] bool ended() const { return result || error; }
};

class AgentConnection {
 public:
  // As AgentClient::connect.
  static base::Result<std::unique_ptr<AgentConnection>> open(AgentStream stream, std::string name,
                                                             ConnectOptions options);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const Hello& hello() const { return hello_; }

  // Sends a command; its answers are found under the id returned. Errors: as AgentClient's send_*.
  base::Result<std::uint64_t> send(Command command, std::string what, base::Duration patience);
  // Sends a stop to that job, which has until `patience` ends then. Whatever is answered to it is
  // fine, that the job has ended before among it.
  base::Result<> send_stop(std::uint64_t job_id, base::Duration patience);

  // Reads until `done`, but handles what has arrived before it looks at the clock: an answer that
  // was in time stays in time when the controller comes late to read it.
  template <typename Done>
  base::Result<> await(base::MonotonicTime deadline, std::string_view what, const Done& done);

  [[nodiscard]] bool awaits(std::uint64_t id) const { return sent_.contains(id); }
  [[nodiscard]] SentCommand& sent(std::uint64_t id) { return sent_.at(id); }
  SentCommand forget(std::uint64_t id) { return std::move(sent_.extract(id).mapped()); }
  // Why nothing works any more, where that is so.
  [[nodiscard]] const std::optional<base::Error>& broken() const { return broken_; }
  // Remembers why nothing works any more.
  std::unexpected<base::Error> give_up(base::Error error);

 private:
  enum class Heard { something, nothing, end };

  AgentConnection(std::string name, ConnectOptions options)
      : name_(std::move(name)), options_(std::move(options)) {}

  [[nodiscard]] int interrupt_fd() const;
  [[nodiscard]] std::unexpected<base::Error> interrupted() const;
  // How the stream ended, to follow a sentence that says so; empty when nobody knows.
  [[nodiscard]] std::string how_it_ended() const;

  // The steps of a stream: its two ends, its greeting, our commands, and the session it carries.
  void take(AgentStream stream);
  base::Result<> greeted(base::MonotonicTime deadline);
  void open_commands();
  base::Result<> attach(std::optional<std::vector<std::uint64_t>> outstanding,
                        base::MonotonicTime deadline);
  // Takes up the session that the agent began by its plan.
  base::Result<> take_up(const AgentPlan& plan, base::MonotonicTime deadline);
  // Takes up the session on another stream. What fails may be tried again, unless broken().
  base::Result<> resume_on(AgentStream stream, base::MonotonicTime deadline);
  // The stream broke. Has another one, or gives up.
  base::Result<> replace_stream();

  // Waits until `deadline` for something to read, and handles what there is.
  base::Result<Heard> hear(base::MonotonicTime deadline);
  // The same until `done`. Errors: timed_out, peer_lost (the stream ended), and as hear().
  base::Result<> hear_until(base::MonotonicTime deadline, std::string_view what,
                            const std::function<bool()>& done);
  // Whether there was a line to handle.
  base::Result<bool> handle_lines();
  base::Result<> handle(const Line& line);
  base::Result<> handle_greeting(const Line& line);
  base::Result<> write(std::string_view line);
  // When a session's stream has been silent for so long that it must be dead.
  [[nodiscard]] std::optional<base::MonotonicTime> silent_until() const;

  std::string name_;
  ConnectOptions options_;
  std::string session_;      // empty without one
  std::string instance_;     // of the agent whose session it is
  base::UniqueFd to_agent_;  // until commands_ has it
  base::UniqueFd from_agent_;
  Hello hello_;
  LineReader lines_{longest_message};
  std::map<std::uint64_t, SentCommand> sent_;
  std::uint64_t last_id_ = 0;
  std::vector<std::uint64_t> received_;  // to be told with the next command
  std::uint64_t attach_id_ = 0;          // of the last attach
  std::optional<Message> attached_;      // and its answer
  std::optional<base::Error> broken_;    // what every further call returns
  base::MonotonicTime last_heard_;
  std::unique_ptr<CommandStream> commands_;  // made once the peer is known to be an agent
};

template <typename Done>
base::Result<> AgentConnection::await(base::MonotonicTime deadline, std::string_view what,
                                      const Done& done) {
  if (broken_) return std::unexpected(*broken_);
  // A peer that never stops talking about something else has this long; and so has one whose stream
  // had to be replaced, to say again what was in time.
  constexpr base::Duration late_reading = std::chrono::seconds(1);
  auto last_call = std::max(deadline, base::monotonic_now()) + late_reading;
  const auto furthest = last_call + options_.resume_within;
  while (!done()) {
    ASSIGN_OR_RETURN(const Heard heard, hear(deadline));
    if (done()) break;
    const auto begun = base::monotonic_now();
    if (heard == Heard::end && (session_.empty() || begun < furthest)) {
      RETURN_IF_ERROR(replace_stream());
      const auto now = base::monotonic_now();
      deadline = std::min(std::max(deadline + (now - begun), now + late_reading), furthest);
      last_call = deadline + late_reading;
    } else if (heard != Heard::something || begun > last_call) {
      return base::fail(base::ErrorKind::timed_out, "{}: {}: no answer in time", name_, what);
    }
  }
  return {};
}

}  // namespace bench
