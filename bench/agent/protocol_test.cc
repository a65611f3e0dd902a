#include "bench/agent/protocol.h"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/reach/reach.h"

namespace bench {
namespace {

using base::ErrorKind;
using testing::HasSubstr;

std::string without_newline(std::string line) {
  EXPECT_TRUE(line.ends_with('\n'));
  line.pop_back();
  EXPECT_EQ(line.find('\n'), std::string::npos);
  return line;
}

TEST(Protocol, CarriesACommandThereAndBack) {
  ClientJob job{.workload = {.kind = WorkloadKind::tcp_crr, .rate = base::RequestRate{2000}},
                .servers = {base::Endpoint::parse("10.0.0.1:80").value()},
                .cpu = 1,
                .seed = ~std::uint64_t{0}};
  const auto line = without_newline(
      to_line(Command{.type = CommandType::run, .id = 9, .job = base::to_json(job)}));
  const auto command = parse_command(line);
  ASSERT_TRUE(command) << command.error().error.message;
  EXPECT_EQ(command->type, CommandType::run);
  EXPECT_EQ(command->id, 9U);
  const auto read = parse_client_job(command->job.value());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(base::to_json(*read), base::to_json(job));
}

TEST(Protocol, CarriesAMessageThereAndBackWithTheTimeItWasWritten) {
  const auto before = base::monotonic_now();
  const auto line = without_newline(to_line(Message{
      .type = MessageType::error,
      .id = 3,
      .error = WireError{{ErrorKind::not_permitted, "bind: \n\xff", "Run it as root.", EACCES}}}));
  const auto message = parse_message(line);
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->id, 3U);
  EXPECT_GE(message->monotonic_ns, before.ns);
  EXPECT_LE(message->monotonic_ns, base::monotonic_now().ns);
  EXPECT_EQ(message->error->error.kind, ErrorKind::not_permitted);
  EXPECT_EQ(message->error->error.mend, "Run it as root.");
  EXPECT_EQ(message->error->error.code, EACCES);
}

TEST(Protocol, CarriesEveryKindOfError) {
  for (const auto kind : {ErrorKind::usage, ErrorKind::input, ErrorKind::missing,
                          ErrorKind::not_permitted, ErrorKind::system, ErrorKind::timed_out,
                          ErrorKind::peer_lost, ErrorKind::workload, ErrorKind::interrupted}) {
    const WireError sent{{.kind = kind, .message = "m"}};
    EXPECT_EQ(WireError::from_json(sent.to_json(), "error").value().error, sent.error);
  }
}

TEST(Protocol, KeepsWhatAHeartbeatNeedsAndNoMore) {
  EXPECT_EQ(to_line(Command{}), "{\"type\":\"heartbeat\"}\n");
  EXPECT_TRUE(parse_command("{\"type\":\"heartbeat\"}"));
}

TEST(Protocol, TellsANewSessionFromOneThatAwaitsNothing) {
  const auto again = [](const Command& command) { return parse_command(to_line(command)).value(); };
  const Command anew{.type = CommandType::attach, .id = 1, .session = "s", .received = {4, 5}};
  EXPECT_EQ(again(anew).outstanding, std::nullopt);
  EXPECT_EQ(again(anew).session, "s");
  EXPECT_EQ(again(anew).received, (std::vector<std::uint64_t>{4, 5}));
  const Command resumed{.type = CommandType::attach,
                        .id = 1,
                        .session = "s",
                        .outstanding = std::vector<std::uint64_t>{}};
  EXPECT_EQ(again(resumed).outstanding, std::vector<std::uint64_t>{});
}

TEST(Protocol, MakesUpNamesThatDiffer) {
  EXPECT_EQ(made_up_name().size(), 32U);
  EXPECT_NE(made_up_name(), made_up_name());
}

TEST(Protocol, IgnoresFieldsOfANewerPeer) {
  EXPECT_TRUE(parse_command(R"({"type":"ping","id":1,"colour":"blue"})"));
  EXPECT_TRUE(parse_message(R"({"type":"pong","id":1,"monotonic_ns":5,"colour":"blue"})"));
}

struct Refused {
  const char* line;
  std::optional<std::uint64_t> id;
  const char* words;
};

class RefusedCommandTest : public testing::TestWithParam<Refused> {};

TEST_P(RefusedCommandTest, SaysWhatIsWrongAndWhichCommandItWas) {
  const auto command = parse_command(GetParam().line);
  ASSERT_FALSE(command);
  EXPECT_EQ(command.error().id, GetParam().id);
  EXPECT_EQ(command.error().error.kind, ErrorKind::input);
  EXPECT_THAT(command.error().error.message, HasSubstr(GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    Commands, RefusedCommandTest,
    testing::Values(Refused{"", std::nullopt, "not JSON"}, Refused{"{", std::nullopt, "not JSON"},
                    Refused{"[1]", std::nullopt, "expected a JSON object"},
                    Refused{R"({"id":4})", 4, "type: missing"},
                    Refused{R"({"type":"dance","id":4})", 4,
                            "expected one of attach, serve, run, observe, watch_drops"},
                    Refused{R"({"type":"ping"})", std::nullopt, "expected an id of at least 1"},
                    Refused{R"({"type":"ping","id":0})", std::nullopt,
                            "expected an id of at least 1"},
                    Refused{R"({"type":"ping","id":-1})", std::nullopt, "id: expected an integer"},
                    Refused{R"({"type":"ping","id":"1"})", std::nullopt, "id: expected an integer"},
                    Refused{R"({"type":"run","id":4})", 4, "job: missing"},
                    Refused{R"({"type":"hold","id":4})", 4, "job: missing"},
                    Refused{R"({"type":"stop","id":4})", 4, "job_id: missing"},
                    Refused{R"({"type":"attach","id":4})", 4, "session: expected 1 to"},
                    Refused{R"({"type":"attach","id":4,"session":""})", 4, "session: expected"},
                    Refused{R"({"type":"attach","id":4,"session":"s","outstanding":[-1]})", 4,
                            "outstanding[0]: expected an integer"}));

TEST(Protocol, RefusesNestingThatWouldExhaustTheStack) {
  const std::string deep =
      R"({"id":1,"type":)" + std::string(200'000, '[') + std::string(200'000, ']') + "}";
  const auto command = parse_command(deep);
  ASSERT_FALSE(command);
  EXPECT_THAT(command.error().error.message, HasSubstr("nested deeper"));
  // Brackets in a string nest nothing.
  EXPECT_TRUE(
      parse_command(R"({"id":1,"type":"ping","x":"\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["})"));
}

TEST(Protocol, RefusesMoreMembersThanCanBeReadInTime) {
  std::string many = R"({"type":"ping","id":1)";
  for (int i = 0; i < 10'000; ++i) many += fmt::format(R"(,"{}":1)", i);
  EXPECT_THAT(parse_command(many + "}").error().error.message, HasSubstr("members"));
}

TEST(Protocol, TakesAListOfMoreObjectsThanOneMayHaveMembers) {
  std::string list = R"({"type":"result","id":1,"monotonic_ns":1,"result":[)";
  for (int i = 0; i < 10'000; ++i)
    list += fmt::format(R"({}{{"time_ns":{}}})", i == 0 ? "" : ",", i);
  const auto message = parse_message(list + "]}");
  ASSERT_TRUE(message) << message.error().message;
  EXPECT_EQ(message->result->size(), 10'000U);
}

TEST(Protocol, HoldsResultsWithAllThatIsNotedOneByOne) {
  ClientResult client;
  client.failures.resize(failures_noted);
  client.moves.resize(moves_noted);
  client.answer_slices.resize(most_answer_slices);
  // As many identities as are told apart, and the two words for the rest.
  for (int id = 0; id < 258; ++id) {
    client.answered_by[std::to_string(id)] = 1;
    client.flows_of[std::to_string(id)] = 1;
  }
  const auto line =
      to_line(Message{.type = MessageType::result, .id = 1, .result = base::to_json(client)});
  EXPECT_LE(line.size(), longest_message);
  EXPECT_TRUE(parse_message(line)) << parse_message(line).error().message;

  ServerResult server;
  server.arrivals_ns.assign(16'384, std::numeric_limits<std::int64_t>::max());
  EXPECT_LE(to_line(Message{.type = MessageType::result, .id = 1, .result = base::to_json(server)})
                .size(),
            longest_message);
}

TEST(Protocol, QuotesALongValueInPart) {
  const auto command = parse_command(R"({"type":")" + std::string(500'000, 'x') + R"(","id":1})");
  ASSERT_FALSE(command);
  EXPECT_LT(command.error().error.message.size(), 5'000U);
  EXPECT_EQ(command.error().id, 1U);
}

TEST(Protocol, RefusesMessagesWithoutWhatTheirTypeNeeds) {
  for (const char* line :
       {R"({"type":"hello","monotonic_ns":1})", R"({"type":"result","id":1,"monotonic_ns":1})",
        R"({"type":"error","id":1,"monotonic_ns":1})", R"({"type":"pong","id":1})",
        R"({"type":"started","id":1,"monotonic_ns":1})"}) {
    EXPECT_FALSE(parse_message(line)) << line;
  }
}

base::Json client_job(const char* field, const char* value) {
  base::Json job = base::to_json(
      ClientJob{.workload = {}, .servers = {base::Endpoint::parse("127.0.0.1:1").value()}});
  job["workload"][field] = value;
  return job;
}

TEST(ClientJobs, AreRefusedWhenTheirEndCannotBeForeseen) {
  EXPECT_TRUE(parse_client_job(client_job("duration", "1h")));
  EXPECT_THAT(parse_client_job(client_job("duration", "25h")).error().message,
              HasSubstr("job.workload.duration: expected at most 24h"));
  EXPECT_FALSE(parse_client_job(client_job("duration", "soon")));
}

TEST(ClientJobs, MayTakeAsLongAsTheirPartsAndSomeMore) {
  ClientJob job{.workload = {}, .servers = {base::Endpoint{}}};
  const auto short_limit = run_time_limit(job);
  EXPECT_GT(short_limit, job.workload.warm_up + job.workload.duration + job.workload.timeout);
  job.workload.duration += std::chrono::seconds(7);
  EXPECT_EQ(run_time_limit(job) - short_limit, std::chrono::seconds(7));
  job.workload.duration -= std::chrono::seconds(7);
  job.workload.kind = WorkloadKind::tcp_stream;
  EXPECT_EQ(run_time_limit(job) - short_limit, job.workload.timeout);
}

TEST(ServerJobs, NeedAPlaceToListen) {
  EXPECT_THAT(parse_server_job(base::to_json(ServerJob{})).error().message,
              HasSubstr("job.listen: expected at least one endpoint"));
}

TEST(Hello, SaysWhoWeAreAndWhoseClockWeRead) {
  const Hello hello = own_hello({"run"});
  EXPECT_EQ(hello.protocol, agent_protocol);
  EXPECT_EQ(hello.version, STACKBENCH_VERSION);
  EXPECT_EQ(hello.boot_id.size(), 36U);
  EXPECT_THAT(hello.time_namespace, testing::StartsWith("time:["));
}

TEST(ClientJobs, WithACanaryNeedATokenAPaceAndRoom) {
  ClientJob job;
  job.workload.kind = WorkloadKind::tcp_rr;
  job.workload.rate = base::RequestRate{100};
  job.workload.request = job.workload.response = base::Bytes{56};
  job.servers = {base::Endpoint::parse("10.0.0.1:7001").value()};
  job.canary = std::string(32, 'a');
  EXPECT_TRUE(parse_client_job(base::to_json(job)));
  auto guessable = job;
  guessable.canary = "abc";
  EXPECT_FALSE(parse_client_job(base::to_json(guessable)));
  auto unpaced = job;
  unpaced.workload.rate.reset();
  EXPECT_FALSE(parse_client_job(base::to_json(unpaced)));
  auto short_reply = job;
  short_reply.workload.response = base::Bytes{55};
  EXPECT_FALSE(parse_client_job(base::to_json(short_reply)));
  auto stream = job;
  stream.workload.kind = WorkloadKind::tcp_stream;
  EXPECT_FALSE(parse_client_job(base::to_json(stream)));
  ServerJob server{.listen = job.servers};
  server.canary = "abc";
  EXPECT_FALSE(parse_server_job(base::to_json(server)));
}

}  // namespace
}  // namespace bench
