#include "bench/agent/protocol.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include <unistd.h>

#include "base/canary.h"
#include "base/file.h"
#include "bench/canaries.h"

namespace bench {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

constexpr std::array error_kinds{
    std::pair{ErrorKind::usage, std::string_view("usage")},
    std::pair{ErrorKind::input, std::string_view("input")},
    std::pair{ErrorKind::missing, std::string_view("missing")},
    std::pair{ErrorKind::not_permitted, std::string_view("not_permitted")},
    std::pair{ErrorKind::system, std::string_view("system")},
    std::pair{ErrorKind::timed_out, std::string_view("timed_out")},
    std::pair{ErrorKind::peer_lost, std::string_view("peer_lost")},
    std::pair{ErrorKind::workload, std::string_view("workload")},
    std::pair{ErrorKind::interrupted, std::string_view("interrupted")}};

// What a line may hold at most. Deep nesting would exhaust the stack of whoever prints the value in
// an error, many members of one object cost the square of their number to read: the other end may
// be compromised, and no honest line comes near. A list of many small objects is honest: what was
// dropped in a block is one.
constexpr int deepest_nesting = 32;
constexpr int most_members = 8192;
// An error may quote the value it complains of.
constexpr std::size_t longest_error = 4096;
constexpr std::size_t longest_session = 128;
constexpr std::size_t longest_plan = std::size_t{100} << 10;

Result<> check_shape(std::string_view line) {
  int depth = 0;
  std::array<int, deepest_nesting + 1> members{};  // of the object or list that is open at a depth
  bool in_string = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '}' || c == ']') depth = std::max(depth - 1, 0);
    if (c == '{' || c == '[') {
      if (++depth > deepest_nesting) {
        return base::fail(ErrorKind::input, "nested deeper than {} levels", deepest_nesting);
      }
      members[static_cast<std::size_t>(depth)] = 0;
    }
    if (c == ':' && ++members[static_cast<std::size_t>(depth)] > most_members) {
      return base::fail(ErrorKind::input, "more than {} members", most_members);
    }
  }
  return {};
}

Result<Json> parse_object(std::string_view line) {
  RETURN_IF_ERROR(check_shape(line));
  ASSIGN_OR_RETURN(Json json, base::parse_json(line));
  if (!json.is_object()) return base::fail(ErrorKind::input, "expected a JSON object");
  return json;
}

base::Error shortened(base::Error error) {
  if (error.message.size() > longest_error) {
    error.message.resize(longest_error);
    error.message += "...";
  }
  return error;
}

// A command's own id, even where the rest of it is wrong.
std::optional<std::uint64_t> id_of(const Json& json) {
  const auto found = json.find("id");
  if (found == json.end() || !found->is_number_unsigned()) return std::nullopt;
  const auto id = found->get<std::uint64_t>();
  return id == 0 ? std::nullopt : std::optional(id);
}

bool is_session(const std::optional<std::string>& name) {
  return name && !name->empty() && name->size() <= longest_session;
}

Result<> check_command(const Command& command) {
  const auto name = base::enum_name(command.type);
  if (command.type != CommandType::heartbeat && command.id == 0) {
    return base::fail(ErrorKind::input, "{}: expected an id of at least 1", name);
  }
  switch (command.type) {
    case CommandType::attach:
      if (!is_session(command.session)) {
        return base::fail(ErrorKind::input, "{}: session: expected 1 to {} characters", name,
                          longest_session);
      }
      break;
    case CommandType::stop:
    case CommandType::kill:
      if (!command.job_id) return base::fail(ErrorKind::input, "{}: job_id: missing", name);
      break;
    default:
      if (has_job(command.type) && !command.job) {
        return base::fail(ErrorKind::input, "{}: job: missing", name);
      }
  }
  return {};
}

Result<> check_message(const Message& message) {
  const auto name = base::enum_name(message.type);
  switch (message.type) {
    case MessageType::hello:
      if (!message.hello) return base::fail(ErrorKind::input, "{}: hello: missing", name);
      break;
    case MessageType::started:
      if (!message.worker_pid) return base::fail(ErrorKind::input, "{}: worker_pid: missing", name);
      break;
    case MessageType::result:
      if (!message.result) return base::fail(ErrorKind::input, "{}: result: missing", name);
      break;
    case MessageType::error:
      if (!message.error) return base::fail(ErrorKind::input, "{}: error: missing", name);
      break;
    case MessageType::attached:
    case MessageType::ready:
    case MessageType::stopping:
    case MessageType::pong:
    case MessageType::heartbeat:
      break;
  }
  return {};
}

std::string link_target(const char* path) {
  std::error_code error;
  return std::filesystem::read_symlink(path, error).string();
}

}  // namespace

Json WireError::to_json() const {
  std::string_view kind = "system";
  for (const auto& [value, name] : error_kinds) {
    if (value == error.kind) kind = name;
  }
  Json json = {{"kind", std::string(kind)}, {"message", shortened(error).message}};
  if (!error.mend.empty()) json["mend"] = error.mend;
  if (error.code != 0) json["code"] = error.code;
  return json;
}

Result<WireError> WireError::from_json(const Json& json, const std::string& path) {
  if (!json.is_object()) return base::fail(ErrorKind::input, "{}: expected an object", path);
  const auto text = [&](const char* name) -> std::string {
    const auto found = json.find(name);
    return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
  };
  WireError wire{.error = {.message = text("message"), .mend = text("mend")}};
  if (wire.error.message.empty()) return base::fail(ErrorKind::input, "{}.message: missing", path);
  for (const auto& [value, name] : error_kinds) {
    if (name == text("kind")) wire.error.kind = value;
  }
  if (const auto code = json.find("code"); code != json.end()) {
    ASSIGN_OR_RETURN(wire.error.code, base::from_json<int>(*code, path + ".code"));
  }
  return wire;
}

Json WireError::json_schema() {
  Json kinds = Json::array();
  for (const auto& [value, name] : error_kinds) kinds.push_back(std::string(name));
  return {{"type", "object"},
          {"properties",
           {{"kind", {{"type", "string"}, {"enum", std::move(kinds)}}},
            {"message", {{"type", "string"}}},
            {"mend", {{"type", "string"}}},
            {"code", {{"type", "integer"}}}}},
          {"required", {"kind", "message"}}};
}

std::expected<Command, RefusedCommand> parse_command(std::string_view line) {
  const auto json = parse_object(line);
  if (!json) return std::unexpected(RefusedCommand{std::nullopt, shortened(json.error())});
  auto command = base::from_json<Command>(*json);
  if (!command) return std::unexpected(RefusedCommand{id_of(*json), shortened(command.error())});
  if (auto checked = check_command(*command); !checked) {
    return std::unexpected(RefusedCommand{id_of(*json), checked.error()});
  }
  return *std::move(command);
}

Result<AgentPlan> parse_plan(std::string_view text) {
  if (text.size() > longest_plan) {
    return base::fail(ErrorKind::input, "longer than {} bytes", longest_plan);
  }
  ASSIGN_OR_RETURN(const auto json, parse_object(text));
  ASSIGN_OR_RETURN(auto plan, base::from_json<AgentPlan>(json));
  if (!is_session(plan.session)) {
    return base::fail(ErrorKind::input, "session: expected 1 to {} characters", longest_session);
  }
  if (plan.commands.empty()) return base::fail(ErrorKind::input, "commands: expected at least one");
  for (std::size_t i = 0; i < plan.commands.size(); ++i) {
    const auto& command = plan.commands[i];
    const auto checked = check_command(command);
    if (!checked) return base::in_context(checked.error(), "commands[{}]", i);
    if (!has_job(command.type) || command.id != i + 1) {
      return base::fail(ErrorKind::input, "commands[{}]: expected a job with the id {}", i, i + 1);
    }
  }
  return plan;
}

std::string to_text(const AgentPlan& plan) {
  Json json = {{"session", plan.session}, {"commands", Json::array()}};
  for (const auto& command : plan.commands) {
    json["commands"].push_back({{"type", base::enum_name(command.type)},
                                {"id", command.id},
                                {"job", command.job.value_or(Json())}});
  }
  return base::dump_json(json);
}

Result<Message> parse_message(std::string_view line) {
  const auto refused = [](base::Error error) {
    return std::unexpected(shortened(std::move(error)));
  };
  auto json = parse_object(line);
  if (!json) return refused(json.error());
  auto message = base::from_json<Message>(*json);
  if (!message) return refused(message.error());
  if (auto checked = check_message(*message); !checked) return refused(checked.error());
  return *std::move(message);
}

std::string to_line(const Command& command) {
  Json json = base::to_json(command);
  if (command.type == CommandType::heartbeat) json.erase("id");
  if (command.received.empty()) json.erase("received");
  return base::dump_json(json) + "\n";
}

std::string to_line(Message message) {
  message.monotonic_ns = base::monotonic_now().ns;
  Json json = base::to_json(message);
  if (message.endpoints.empty()) json.erase("endpoints");
  if (message.unknown.empty()) json.erase("unknown");
  return base::dump_json(json) + "\n";
}

namespace {

Result<> check_token(const std::string& token) {
  if (base::is_token(token)) return {};
  return base::fail(ErrorKind::input, "job.canary: expected {} hexadecimal digits",
                    base::token_length);
}

Result<> check_canary(const ClientJob& job) {
  RETURN_IF_ERROR(check_token(*job.canary));
  const auto kind = job.workload.kind;
  const auto room = std::min(request_size(job.workload), response_size(job.workload));
  if (can_carry_canaries(kind) && job.workload.rate && room >= canary_bytes(kind)) return {};
  return base::fail(ErrorKind::input,
                    "job.canary: expected http, http2, tcp_rr or tcp_crr at a rate, its requests "
                    "and replies of {} bytes and more",
                    canary_bytes(kind).count);
}

Result<> check_tls(WorkloadKind kind, const std::optional<TlsSettings>& settings) {
  if (settings.has_value() == (kind == WorkloadKind::tls_handshake)) return {};
  return base::fail(ErrorKind::input, "job.tls: tls_handshake has certificates, and nobody else");
}

}  // namespace

Result<ClientJob> parse_client_job(const Json& json) {
  ASSIGN_OR_RETURN(ClientJob job, base::from_json<ClientJob>(json, "job"));
  constexpr base::Duration longest = std::chrono::hours(24);
  for (const auto& [name, span] :
       {std::pair{"duration", job.workload.duration}, std::pair{"warm_up", job.workload.warm_up},
        std::pair{"timeout", job.workload.timeout}}) {
    if (span < base::Duration::zero() || span > longest) {
      return base::fail(ErrorKind::input, "job.workload.{}: expected at most 24h, got {}", name,
                        base::StringScalar<base::Duration>::format(span));
    }
  }
  if (job.canary) RETURN_IF_ERROR(check_canary(job));
  RETURN_IF_ERROR(check_tls(job.workload.kind, job.tls));
  return job;
}

Result<ServerJob> parse_server_job(const Json& json) {
  ASSIGN_OR_RETURN(ServerJob job, base::from_json<ServerJob>(json, "job"));
  if (job.listen.empty()) {
    return base::fail(ErrorKind::input, "job.listen: expected at least one endpoint");
  }
  if (job.canary) RETURN_IF_ERROR(check_token(*job.canary));
  RETURN_IF_ERROR(check_tls(job.kind, job.tls));
  return job;
}

base::Duration run_time_limit(const ClientJob& job) {
  // A UDP flow's first exchange is tried again; a TCP stream's opening waits for a reply as well.
  int attempts = 1;
  if (job.workload.kind == WorkloadKind::tcp_stream) attempts = 2;
  if (protocol_of(job.workload.kind) == base::Protocol::UDP) attempts = first_exchange_attempts;
  return job.workload.warm_up + job.workload.duration + (attempts + 1) * job.workload.timeout +
         std::chrono::seconds(10);
}

std::string made_up_name() { return base::make_token(); }

Hello own_hello(std::vector<std::string> capabilities) {
  std::string boot_id = base::read_file("/proc/sys/kernel/random/boot_id").value_or("");
  while (!boot_id.empty() && boot_id.back() == '\n') boot_id.pop_back();
  return {.protocol = agent_protocol,
          .version = STACKBENCH_VERSION,
          .capabilities = std::move(capabilities),
          .pid = ::getpid(),
          .boot_id = std::move(boot_id),
          .time_namespace = link_target("/proc/self/ns/time")};
}

}  // namespace bench
