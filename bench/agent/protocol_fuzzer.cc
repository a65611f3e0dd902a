// The bytes a hostile peer may send, through the line reader, both parsers and the session's
// memory: nothing may crash, lines must not depend on how the bytes arrived, what was understood
// must survive being said again, and no order of commands makes a session keep too much or answer
// twice.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "bench/agent/kept_answers.h"
#include "bench/agent/line.h"
#include "bench/agent/protocol.h"
#include "bench/reach/flow_watch.h"
#include "bench/reach/hold.h"
#include "bench/reach/knock.h"
#include "bench/reach/reach.h"
#include "bench/tls_probe/tls_probe.h"
#include "probes/drops.h"
#include "probes/translation.h"
#include "probes/wire/wire.h"

namespace {

constexpr std::size_t limit = 2048;
constexpr std::size_t longest_error = 5000;

void must(bool holds) {
  if (!holds) std::abort();
}

std::vector<bench::Line> cut(std::string_view bytes, std::size_t step) {
  bench::LineReader reader(limit);
  std::vector<bench::Line> lines;
  while (!bytes.empty()) {
    reader.feed(bytes.substr(0, step));
    bytes.remove_prefix(std::min(step, bytes.size()));
    while (auto line = reader.next()) lines.push_back(*std::move(line));
  }
  return lines;
}

std::string_view without_newline(std::string_view line) {
  must(line.ends_with('\n'));
  line.remove_suffix(1);
  must(line.find('\n') == std::string_view::npos);
  return line;
}

// A job that was understood is understood again.
template <typename Job>
void read_again(const base::Result<Job>& job, base::Result<Job> (*parse)(const base::Json&)) {
  if (job) must(parse(base::to_json(*job)).has_value());
}

// The same of a result.
template <typename Read>
void read_result(const base::Json& json) {
  const auto result = base::from_json<Read>(json, "result");
  if (result) must(base::from_json<Read>(base::to_json(*result)).has_value());
}

void read_command(std::string_view line) {
  const auto command = bench::parse_command(line);
  if (!command) {
    must(command.error().error.message.size() <= longest_error);
    return;
  }
  const auto again = bench::parse_command(without_newline(bench::to_line(*command)));
  must(again && again->type == command->type && again->id == command->id);
  if (!command->job) return;
  switch (command->type) {
    case bench::CommandType::run:
      if (const auto job = bench::parse_client_job(*command->job)) {
        must(bench::run_time_limit(*job) > base::Duration::zero());
        must(bench::parse_client_job(base::to_json(*job)).has_value());
      }
      break;
    case bench::CommandType::serve:
      if (const auto job = bench::parse_server_job(*command->job)) {
        must(bench::parse_server_job(base::to_json(*job)).has_value());
      }
      break;
    case bench::CommandType::observe:
      if (const auto job = base::from_json<probes::TranslationJob>(*command->job)) {
        must(base::from_json<probes::TranslationJob>(base::to_json(*job)).has_value());
      }
      break;
    case bench::CommandType::watch_drops:
      if (const auto job = base::from_json<probes::DropsJob>(*command->job)) {
        must(base::from_json<probes::DropsJob>(base::to_json(*job)).has_value());
      }
      break;
    case bench::CommandType::reach:
      read_again(bench::parse_reach_job(*command->job), bench::parse_reach_job);
      break;
    case bench::CommandType::listen:
      read_again(bench::parse_listen_job(*command->job), bench::parse_listen_job);
      break;
    case bench::CommandType::send_flows:
      read_again(bench::parse_flow_send_job(*command->job), bench::parse_flow_send_job);
      break;
    case bench::CommandType::receive_flows:
      read_again(bench::parse_flow_receive_job(*command->job), bench::parse_flow_receive_job);
      break;
    case bench::CommandType::hold:
      read_again(bench::parse_hold_job(*command->job), bench::parse_hold_job);
      break;
    case bench::CommandType::capture:
      read_again(probes::parse_capture_job(*command->job), probes::parse_capture_job);
      break;
    case bench::CommandType::tls_probe:
      read_again(bench::parse_tls_probe_job(*command->job), bench::parse_tls_probe_job);
      break;
    case bench::CommandType::knock:
      read_again(bench::parse_knock_job(*command->job), bench::parse_knock_job);
      break;
    case bench::CommandType::attach:
    case bench::CommandType::stop:
    case bench::CommandType::kill:
    case bench::CommandType::ping:
    case bench::CommandType::heartbeat:
      break;
  }
}

void read_message(std::string_view line) {
  const auto message = bench::parse_message(line);
  if (!message) {
    must(message.error().message.size() <= longest_error);
    return;
  }
  const auto again = bench::parse_message(without_newline(bench::to_line(*message)));
  must(again && again->type == message->type && again->id == message->id);
  if (message->result) {
    // Read as a controller does; what it says is the peer's business.
    read_result<bench::ClientResult>(*message->result);
    read_result<bench::ReachResult>(*message->result);
    read_result<bench::FlowSendResult>(*message->result);
    read_result<bench::FlowReceiveResult>(*message->result);
    read_result<bench::HoldResult>(*message->result);
    read_result<probes::WireReport>(*message->result);
    read_result<bench::TlsProbeResult>(*message->result);
  }
}

// An agent's session: every job is begun once, and ends when the next command comes.
class Session {
 public:
  void take(const bench::Command& command) {
    end_last_job();
    if (command.type == bench::CommandType::attach) return attach(command);
    kept_.received(command.received);
    for (const auto id : command.received) must(kept_.said(id).empty());
    if (!command.job || !kept_.said(command.id).empty() || kept_.seen(command.id)) return;
    kept_.open(command.id);
    kept_.keep(command.id, "started\n", false);
    must(kept_.said(command.id).empty() == kept_.session().empty());
    job_ = command.id;
  }

 private:
  static constexpr std::size_t most = 4096;

  void end_last_job() {
    if (job_ != 0) kept_.keep(job_, "result\n", true);
    job_ = 0;
    must(kept_.bytes() <= most);
  }
  void attach(const bench::Command& command) {
    if (!command.outstanding) return kept_.begin(command.session.value_or("?"));
    const auto resumed = kept_.resume(*command.outstanding);
    must(resumed.unknown.size() <= command.outstanding->size());
    must(resumed.given_up.empty());
    for (const auto id : resumed.unknown) must(kept_.said(id).empty());
    must(kept_.resume(*command.outstanding).again == resumed.again);
  }

  bench::KeptAnswers kept_{most};
  std::uint64_t job_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto lines = cut(bytes, size + 1);
  must(lines == cut(bytes, 1 + size / 3));
  Session session;
  for (const auto& line : lines) {
    must(line.text.size() <= limit);
    must(line.text.find('\n') == std::string::npos);
    read_command(line.text);
    read_message(line.text);
    if (const auto command = bench::parse_command(line.text)) session.take(*command);
  }
  return 0;
}
