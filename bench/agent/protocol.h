// What controller and agent say to each other: one JSON object a line, over the agent's stdin and
// stdout. The worker processes speak the same to their supervisor.
//
//   agent      {"type":"hello","protocol":1,"version":"0.1.0",...}
//   controller {"type":"serve","id":1,"job":{...}}        agent {"type":"started","id":1,...}
//                                                               {"type":"ready","id":1,...}
//   controller {"type":"run","id":2,"job":{...}}          agent {"type":"started","id":2,...}
//                                                               {"type":"result","id":2,...}
//   controller {"type":"stop","id":3,"job_id":1}          agent {"type":"stopping","id":3}
//                                                               {"type":"result","id":1,...}
//   controller {"type":"kill","id":3,"job_id":1}          agent {"type":"stopping","id":3}
//                                                               {"type":"error","id":1,...}
//   controller {"type":"ping","id":4}                     agent {"type":"pong","id":4,...}
//   controller {"type":"heartbeat"}                       no answer
//
// Every command but a heartbeat has an id of the controller's choice, never used twice, and ends in
// exactly one `result`, `error`, `stopping` or `pong` with it. An `error` without an id answers a
// line that could not be understood. Every line of the agent carries CLOCK_MONOTONIC.
//
// A controller whose stream can be had again says so with the first line of every stream, by a name
// for its session that it made up itself:
//
//   controller {"type":"attach","id":1,"session":"8f02..."}
//                                                         agent {"type":"attached","id":1,...}
//   ... the stream breaks, another is opened; after the hello, which must be of the same instance:
//   controller {"type":"attach","id":9,"session":"8f02...","outstanding":[2,7,8]}
//                                                         agent {"type":"attached","id":9,
//                                                                "unknown":[8],...}
//
// Without `outstanding` everything begins anew: what another controller left is ended. With it the
// session goes on where the agent knows it (otherwise: an error, peer_lost): jobs that are not
// outstanding are stopped and forgotten, what was said of those that are follows again, byte by
// byte, and those that are `unknown` never arrived and are to be sent again. Ids of a session grow.
// An agent keeps what it said until a command of a later number lists it under `received`, or the
// session is resumed without it. In a session it sends {"type":"heartbeat"} as often as the
// controller does, so that either notices a stream that carries nothing any more.
//
// An agent in a container may be given a plan with its command line: a session, and the commands
// with which its controller would have begun it. It follows them from its first instant, before
// anybody can have come, and its controller then takes the session up as one whose stream broke.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "bench/workload.h"

namespace bench {

// Grows with every change that an older peer would misunderstand.
constexpr int agent_protocol = 2;
// Longest line without its newline, by who writes it: a result holds three histograms.
constexpr std::size_t longest_command = std::size_t{1} << 20;
constexpr std::size_t longest_message = std::size_t{4} << 20;
// How often a controller says that it is there, and how long an agent waits before it stops
// traffic.
constexpr base::Duration heartbeat_interval = std::chrono::seconds(5);
constexpr base::Duration default_idle_after = std::chrono::seconds(15);

// The jobs after watch_drops came later: an agent that has them says so among its capabilities, and
// one that does not refuses them.
enum class CommandType {
  attach,
  serve,
  run,
  observe,
  watch_drops,
  reach,
  listen,
  send_flows,
  receive_flows,
  hold,
  capture,
  tls_probe,
  knock,
  stop,
  kill,
  ping,
  heartbeat,
};

// Whether such a command carries a job, which a worker does.
[[nodiscard]] constexpr bool has_job(CommandType type) {
  switch (type) {
    case CommandType::serve:
    case CommandType::run:
    case CommandType::observe:
    case CommandType::watch_drops:
    case CommandType::reach:
    case CommandType::listen:
    case CommandType::send_flows:
    case CommandType::receive_flows:
    case CommandType::hold:
    case CommandType::capture:
    case CommandType::tls_probe:
    case CommandType::knock:
      return true;
    case CommandType::attach:
    case CommandType::stop:
    case CommandType::kill:
    case CommandType::ping:
    case CommandType::heartbeat:
      return false;
  }
  return false;
}

// A line of the controller.
struct Command {
  CommandType type = CommandType::heartbeat;
  std::uint64_t id = 0;                      // 0 only in a heartbeat
  std::optional<base::Json> job = {};        // where has_job()
  std::optional<std::uint64_t> job_id = {};  // stop, kill: the id of the job's command
  std::optional<std::string> session = {};   // attach
  // attach to a session that goes on: the ids whose answers are awaited.
  std::optional<std::vector<std::uint64_t>> outstanding = {};
  std::vector<std::uint64_t> received = {};  // ids whose last answers have arrived
};

template <typename Visit, base::SelfOf<Command> Self>
void describe(Visit& visit, Self& self) {
  visit("type", self.type, {.doc = "What to do.", .required = true});
  visit("id", self.id, {.doc = "Of this command; its answers carry it."});
  visit("job", self.job,
        {.doc = "ServerJob, ClientJob, TranslationJob, DropsJob, CaptureJob, TlsProbeJob, or one "
                "of bench/reach."});
  visit("job_id", self.job_id, {.doc = "stop, kill: which job."});
  visit("session", self.session, {.doc = "attach: whose session, by a name of its own."});
  visit("outstanding", self.outstanding, {.doc = "attach: what a resumed session awaits."});
  visit("received", self.received, {.doc = "Commands whose last answers have arrived."});
}

// What an agent does from its first instant. Its ids are 1, 2 and so on.
struct AgentPlan {
  std::string session;
  std::vector<Command> commands = {};

  // Appends a job; returns the id its answers will carry.
  template <typename Job>
  std::uint64_t add(CommandType type, const Job& job) {
    commands.push_back({.type = type, .id = commands.size() + 1, .job = base::to_json(job)});
    return commands.size();
  }
};

template <typename Visit, base::SelfOf<AgentPlan> Self>
void describe(Visit& visit, Self& self) {
  visit("session", self.session, {.doc = "By which its controller takes it up.", .required = true});
  visit("commands", self.commands, {.doc = "Jobs, in this order.", .required = true});
}

enum class MessageType {
  hello,
  attached,
  started,
  ready,
  result,
  error,
  stopping,
  pong,
  heartbeat,
};

// Whether nothing follows such an answer to a command.
[[nodiscard]] constexpr bool is_last_answer(MessageType type) {
  return type == MessageType::result || type == MessageType::error ||
         type == MessageType::stopping || type == MessageType::pong ||
         type == MessageType::attached;
}

// An Error as it travels; kinds this side does not know arrive as `system`.
struct WireError {
  base::Error error;

  [[nodiscard]] base::Json to_json() const;
  static base::Result<WireError> from_json(const base::Json& json, const std::string& path);
  static base::Json json_schema();
};

// Who an agent is: the `hello` of its first line.
struct Hello {
  int protocol = 0;
  std::string version;                    // of stackbench
  std::vector<std::string> capabilities;  // the commands it can carry out here
  int pid = 0;                            // in its own pid namespace
  std::string boot_id;                    // with the same boot and time namespace as ours its
  std::string time_namespace;             // clock is ours; empty where /proc does not say
  std::string instance = {};              // of this process: another one knows none of its jobs
};

template <typename Visit, base::SelfOf<Hello> Self>
void describe(Visit& visit, Self& self) {
  visit("protocol", self.protocol, {.doc = "Of this agent.", .required = true});
  visit("version", self.version, {.doc = "Of stackbench.", .required = true});
  visit("capabilities", self.capabilities, {.doc = "Commands it knows.", .required = true});
  visit("pid", self.pid, {.doc = "In its pid namespace."});
  visit("boot_id", self.boot_id, {.doc = "/proc/sys/kernel/random/boot_id."});
  visit("time_namespace", self.time_namespace, {.doc = "/proc/self/ns/time."});
  visit("instance", self.instance, {.doc = "Made up by every agent process at its start."});
}

// A line of the agent, or of a worker to its supervisor (then without id).
struct Message {
  MessageType type = MessageType::error;
  std::optional<std::uint64_t> id = {};
  std::int64_t monotonic_ns = 0;               // when it was written
  std::optional<Hello> hello = {};             // hello
  std::optional<int> worker_pid = {};          // started, in the agent's pid namespace
  std::vector<base::Endpoint> endpoints = {};  // ready of serve: where it listens
  std::optional<base::Json> result = {};       // result
  std::optional<WireError> error = {};         // error
  std::vector<std::uint64_t> unknown = {};     // attached: outstanding, and never arrived
};

template <typename Visit, base::SelfOf<Message> Self>
void describe(Visit& visit, Self& self) {
  visit("type", self.type, {.doc = "What this is.", .required = true});
  visit("id", self.id, {.doc = "Of the command it answers."});
  visit("monotonic_ns", self.monotonic_ns, {.doc = "CLOCK_MONOTONIC.", .required = true});
  visit("hello", self.hello, {.doc = "Who the agent is."});
  visit("worker_pid", self.worker_pid, {.doc = "Of the process that does the job."});
  visit("endpoints", self.endpoints, {.doc = "Where a server listens."});
  visit("result", self.result, {.doc = "What came of the job."});
  visit("error", self.error, {.doc = "Why nothing came of it."});
  visit("unknown", self.unknown, {.doc = "Commands to send again."});
}

// A command that cannot be carried out, and the id to answer it with where it has one.
struct RefusedCommand {
  std::optional<std::uint64_t> id;
  base::Error error;
};

// Reads a command: fields that its type needs are there, ids are positive. Jobs are read by those
// who run them (parse_job). Never throws, whatever the bytes.
[[nodiscard]] std::expected<Command, RefusedCommand> parse_command(std::string_view line);

// Reads a plan, which is one argument of a command line (execve(2) takes 128 KiB): at least one
// command and only jobs, of a session with a name. Errors: input.
[[nodiscard]] base::Result<AgentPlan> parse_plan(std::string_view text);

// The plan on one line, without a newline.
[[nodiscard]] std::string to_text(const AgentPlan& plan);

// Reads a message: fields that its type needs are there. Errors: input.
[[nodiscard]] base::Result<Message> parse_message(std::string_view line);

// The line, with its newline. The message is stamped with the current time.
[[nodiscard]] std::string to_line(const Command& command);
[[nodiscard]] std::string to_line(Message message);

// A client's job as it travels, within bounds that make its end foreseeable (durations together at
// most 24 h, none negative). Errors: input, "job.workload.duration: ...".
[[nodiscard]] base::Result<ClientJob> parse_client_job(const base::Json& json);
// The same for a server: at least one endpoint.
[[nodiscard]] base::Result<ServerJob> parse_server_job(const base::Json& json);

// How long a client's job may take before its worker is killed: warm-up, duration, a timeout to
// connect (of UDP one for each attempt, of a tcp_stream two) and one to finish, and 10 s for a busy
// machine.
[[nodiscard]] base::Duration run_time_limit(const ClientJob& job);

// A name that nobody else has: 32 random hexadecimal digits.
[[nodiscard]] std::string made_up_name();

// This process as an agent, without an instance.
[[nodiscard]] Hello own_hello(std::vector<std::string> capabilities);

}  // namespace bench

template <>
struct base::EnumNames<bench::CommandType> {
  static constexpr std::array names{
      std::pair{bench::CommandType::attach, std::string_view("attach")},
      std::pair{bench::CommandType::serve, std::string_view("serve")},
      std::pair{bench::CommandType::run, std::string_view("run")},
      std::pair{bench::CommandType::observe, std::string_view("observe")},
      std::pair{bench::CommandType::watch_drops, std::string_view("watch_drops")},
      std::pair{bench::CommandType::reach, std::string_view("reach")},
      std::pair{bench::CommandType::listen, std::string_view("listen")},
      std::pair{bench::CommandType::send_flows, std::string_view("send_flows")},
      std::pair{bench::CommandType::receive_flows, std::string_view("receive_flows")},
      std::pair{bench::CommandType::hold, std::string_view("hold")},
      std::pair{bench::CommandType::capture, std::string_view("capture")},
      std::pair{bench::CommandType::tls_probe, std::string_view("tls_probe")},
      std::pair{bench::CommandType::knock, std::string_view("knock")},
      std::pair{bench::CommandType::stop, std::string_view("stop")},
      std::pair{bench::CommandType::kill, std::string_view("kill")},
      std::pair{bench::CommandType::ping, std::string_view("ping")},
      std::pair{bench::CommandType::heartbeat, std::string_view("heartbeat")}};
};

template <>
struct base::EnumNames<bench::MessageType> {
  static constexpr std::array names{
      std::pair{bench::MessageType::hello, std::string_view("hello")},
      std::pair{bench::MessageType::attached, std::string_view("attached")},
      std::pair{bench::MessageType::started, std::string_view("started")},
      std::pair{bench::MessageType::ready, std::string_view("ready")},
      std::pair{bench::MessageType::result, std::string_view("result")},
      std::pair{bench::MessageType::error, std::string_view("error")},
      std::pair{bench::MessageType::stopping, std::string_view("stopping")},
      std::pair{bench::MessageType::pong, std::string_view("pong")},
      std::pair{bench::MessageType::heartbeat, std::string_view("heartbeat")}};
};
