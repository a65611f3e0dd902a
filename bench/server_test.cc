// The server against clients that are not ours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/test_servers.h"

namespace bench {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

std::string request(std::uint64_t sequence, std::uint32_t bytes = 64) {
  std::string text(bytes, '\0');
  encode(RequestHeader{.request_bytes = bytes, .response_bytes = 32, .sequence = sequence},
         text.data());
  return text;
}

class EveryServer : public ::testing::TestWithParam<std::tuple<WorkloadKind, WaitStrategy>> {
 protected:
  RunningServer server_{ServerJob{.kind = std::get<0>(GetParam()),
                                  .wait = std::get<1>(GetParam()),
                                  .listen = {},
                                  .server_id = 9}};
};

TEST_P(EveryServer, AnswersWithTheSequenceAskedAndItsIdentity) {
  const auto client = dial(server_.endpoint());
  ASSERT_TRUE(ScriptedServer::send_text(client.get(), request(1234)));
  const auto reply = receive(client.get(), 32);
  ASSERT_EQ(reply.size(), 32U);
  ReplyHeader header;
  std::memcpy(&header, reply.data(), sizeof(header));
  EXPECT_EQ(header.response_bytes, 32U);
  EXPECT_EQ(header.sequence, 1234U);
  EXPECT_EQ(header.server_id, 9U);
}

TEST_P(EveryServer, WaitsForTheRestOfARequest) {
  const auto client = dial(server_.endpoint());
  const auto text = request(7, 100);
  for (const char byte : text) {
    ASSERT_TRUE(ScriptedServer::send_text(client.get(), std::string(1, byte)));
  }
  EXPECT_EQ(receive(client.get(), 32).size(), 32U);
}

TEST_P(EveryServer, RefusesWhatIsNotARequest) {
  for (const auto& text : {std::string(64, '\xff'), std::string(16, '\0'), request(1) + "x"}) {
    const auto client = dial(server_.endpoint());
    ASSERT_TRUE(ScriptedServer::send_text(client.get(), text));
    EXPECT_TRUE(ended(client.get()) || errno == ECONNRESET);
  }
  const auto result = server_.result();
  EXPECT_EQ(result.bad_requests, 3U);
  EXPECT_EQ(result.requests, 0U);
}

TEST_P(EveryServer, ServesOthersWhileAConnectionIsSilent) {
  // First a stretch of lone traffic, so that a server that leaves epoll for it has left.
  auto job = short_job(server_.endpoint());
  job.workload.kind = std::get<0>(GetParam());
  ASSERT_TRUE(run_client(job, -1));

  const auto silent = dial(server_.endpoint());
  const auto half = request(1).substr(0, 20);
  const auto halfway = dial(server_.endpoint());
  ASSERT_TRUE(ScriptedServer::send_text(halfway.get(), half));
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->errors.total(), 0U);
  EXPECT_GT(result->requests, 0U);
}

TEST_P(EveryServer, ASecondClientIsServedWhileTheFirstIsBusy) {
  auto job = short_job(server_.endpoint());
  job.workload.kind = std::get<0>(GetParam());
  job.workload.duration = milliseconds(200);
  auto first = std::async(std::launch::async, [&] { return run_client(job, -1); });
  auto second_job = job;
  second_job.workload.duration = milliseconds(60);
  const auto second = run_client(second_job, -1);
  const auto first_result = first.get();
  ASSERT_TRUE(first_result);
  ASSERT_TRUE(second);
  EXPECT_GT(second->requests, 0U);
  EXPECT_EQ(second->errors.total() + first_result->errors.total(), 0U);
}

TEST_P(EveryServer, StopsAtOnceWithAnIdleConnection) {
  const auto idle = dial(server_.endpoint());
  ASSERT_TRUE(ScriptedServer::send_text(idle.get(), request(1)));
  ASSERT_EQ(receive(idle.get(), 32).size(), 32U);
  const auto begun = base::monotonic_now();
  EXPECT_EQ(server_.result().requests, 1U);
  EXPECT_LT(base::monotonic_now() - begun, std::chrono::seconds(1));
  EXPECT_TRUE(ended(idle.get()));
}

INSTANTIATE_TEST_SUITE_P(
    Traffic, EveryServer,
    ::testing::Combine(::testing::Values(WorkloadKind::tcp_rr, WorkloadKind::tcp_crr),
                       ::testing::Values(WaitStrategy::block, WaitStrategy::hybrid,
                                         WaitStrategy::spin)),
    [](const auto& parameters) {
      return fmt::format("{}_{}", base::enum_name(std::get<0>(parameters.param)),
                         base::enum_name(std::get<1>(parameters.param)));
    });

TEST(Server, AnIdleServerThatSpinsUsesNoCpu) {
  RunningServer server({.wait = WaitStrategy::spin, .listen = {}});
  ASSERT_TRUE(run_client(short_job(server.endpoint()), -1));
  // Its connection is gone; a server that spun on would burn all of this wait. Waiting is what is
  // tested here, hence the only fixed time of these tests.
  std::this_thread::sleep_for(milliseconds(300));
  const auto result = server.result();
  EXPECT_LT(result.cpu_user_ns + result.cpu_system_ns, 200'000'000);
}

TEST(Server, AnAddressInUseIsAnErrorInWords) {
  RunningServer server({.listen = {}});
  const ServerJob job{.listen = {server.endpoint()}};
  const auto second = run_server(job, -1, nullptr);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message,
              HasSubstr(fmt::format("{}: Address already in use", server.endpoint())));
}

}  // namespace
}  // namespace bench
