// What goes wrong on the way is counted under its own name: every class of failure has a server
// that makes it, and both the loop for one connection and the one for many must notice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/test_servers.h"

namespace bench {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

struct Shape {
  WorkloadKind kind;
  WaitStrategy wait;
  int connections;
  bool open_loop;
  std::optional<bool> keep_alive = {};
};

std::string shape_name(const ::testing::TestParamInfo<Shape>& info) {
  return fmt::format("{}_{}_{}_{}{}", base::enum_name(info.param.kind),
                     base::enum_name(info.param.wait), info.param.connections,
                     info.param.open_loop ? "open" : "closed",
                     info.param.keep_alive == std::optional(false) ? "_close" : "");
}

class Failures : public ::testing::TestWithParam<Shape> {
 protected:
  static ClientJob job_for(const base::Endpoint& server) {
    auto job = short_job(server);
    job.workload.kind = GetParam().kind;
    job.workload.wait = GetParam().wait;
    job.workload.connections = GetParam().connections;
    job.workload.keep_alive = GetParam().keep_alive;
    if (GetParam().open_loop) job.workload.rate = base::RequestRate{1'000};
    return job;
  }
  static ClientResult result_of(const ClientJob& job) {
    auto result = run_client(job, -1);
    EXPECT_TRUE(result) << (result ? "" : result.error().message);
    return result ? std::move(*result) : ClientResult{};
  }
  // The same, once more where the machine was so busy that the server came to no fault.
  [[nodiscard]] ClientResult result_with_faults(const ClientJob& job) const {
    auto result = result_of(job);
    for (int again = 0; again < 20 && faults_ == 0 && result.errors.total() == 0; ++again) {
      result = result_of(job);
    }
    return result;
  }
  // The right answer.
  static std::string reply_to(const RequestHeader& request) {
    return ScriptedServer::reply_to(request, 1, GetParam().kind);
  }
  // Answers every tenth request wrongly, as the test says; counts how often it did.
  ScriptedServer::Answer tenth(const ScriptedServer::Answer& wrongly) {
    return [this, wrongly](int fd, const RequestHeader& request) {
      if (++requests_ % 10 == 0) {
        ++faults_;
        return wrongly(fd, request);
      }
      return ScriptedServer::send_text(fd, reply_to(request));
    };
  }
  // One kind of failure, as often as the server made it, and nothing else. At the end of a closed
  // loop's window each connection may meet one more than is waited for.
  void expect_only(const ClientResult& result, std::uint64_t TrafficErrors::* kind) const {
    EXPECT_GT(faults_, 0U);
    EXPECT_EQ(result.errors.*kind, faults_);
    EXPECT_EQ(result.errors.total(), result.errors.*kind);
    EXPECT_GT(result.requests, 0U);
  }

  std::atomic<std::uint64_t> requests_ = 0;
  std::atomic<std::uint64_t> faults_ = 0;
};

TEST_P(Failures, AnsweredWithAnotherSequenceIsABadReply) {
  ScriptedServer server(tenth([](int fd, RequestHeader request) {
                          ++request.sequence;
                          return ScriptedServer::send_text(fd, reply_to(request));
                        }),
                        GetParam().kind);
  expect_only(result_with_faults(job_for(server.endpoint())), &TrafficErrors::bad_reply);
}

TEST_P(Failures, AnsweredWithAnotherLengthIsABadReply) {
  ScriptedServer server(tenth([](int fd, RequestHeader request) {
                          ++request.response_bytes;
                          return ScriptedServer::send_text(fd, reply_to(request));
                        }),
                        GetParam().kind);
  expect_only(result_with_faults(job_for(server.endpoint())), &TrafficErrors::bad_reply);
}

TEST_P(Failures, BytesBehindTheReplyAreABadReply) {
  ScriptedServer server(tenth([](int fd, const RequestHeader& request) {
                          return ScriptedServer::send_text(fd, reply_to(request) + "x");
                        }),
                        GetParam().kind);
  expect_only(result_with_faults(job_for(server.endpoint())), &TrafficErrors::bad_reply);
}

TEST_P(Failures, ClosedWithinTheReplyIsClosedEarly) {
  ScriptedServer server(tenth([](int fd, const RequestHeader& request) {
                          ScriptedServer::send_text(fd, reply_to(request).substr(0, 30));
                          return false;
                        }),
                        GetParam().kind);
  expect_only(result_with_faults(job_for(server.endpoint())), &TrafficErrors::closed_early);
}

TEST_P(Failures, ResetInsteadOfAReplyIsAReset) {
  ScriptedServer server(tenth([](int fd, const RequestHeader&) {
                          ScriptedServer::reset_on_close(fd);
                          return false;
                        }),
                        GetParam().kind);
  expect_only(result_with_faults(job_for(server.endpoint())), &TrafficErrors::reset);
}

TEST_P(Failures, SilenceTimesOut) {
  ScriptedServer server(tenth([](int, const RequestHeader&) { return true; }), GetParam().kind);
  auto job = job_for(server.endpoint());
  job.workload.timeout = milliseconds(100);
  job.workload.duration = milliseconds(200);
  // So few that connections that wait in vain leave others free.
  if (GetParam().open_loop) job.workload.rate = base::RequestRate{200};
  const auto begun = base::monotonic_now();
  expect_only(result_with_faults(job), &TrafficErrors::timed_out);
  EXPECT_LT(base::monotonic_now() - begun, std::chrono::seconds(2));
}

// An open loop whose connections are all waited for in vain ends soon after its window: what was
// due and could not even begin in time has timed out, too.
TEST(OpenLoop, RequestsThatFindNoConnectionWithinTheirTimeoutHaveTimedOut) {
  ScriptedServer server([](int, const RequestHeader&) { return true; }, WorkloadKind::tcp_rr);
  auto job = short_job(server.endpoint());
  job.workload.rate = base::RequestRate{1'000};
  job.workload.timeout = milliseconds(100);
  job.workload.duration = milliseconds(200);
  job.note_events = true;
  const auto begun = base::monotonic_now();
  const auto result = run_client(job, -1);
  // One after another they would take twenty seconds.
  EXPECT_LT(base::monotonic_now() - begun, std::chrono::seconds(5));
  ASSERT_TRUE(result) << base::describe_error(result.error());
  EXPECT_EQ(result->requests, 0U);
  EXPECT_NEAR(static_cast<double>(result->errors.timed_out), 200, 80);
  EXPECT_EQ(result->errors.total(), result->errors.timed_out);
  EXPECT_EQ(result->failures.size() + result->failures_lost, result->errors.timed_out);
}

// The same where every request is answered, though not as fast as they fall due: a connection that
// is answered takes the next one at once, and none that has waited too long.
TEST(OpenLoop, EndsSoonThoughAnswersComeSlowerThanItAsks) {
  ScriptedServer server(
      [](int fd, const RequestHeader& request) {
        // Slower than it is asked for is what this server is.
        std::this_thread::sleep_for(milliseconds(20));
        return ScriptedServer::send_text(fd, ScriptedServer::reply_to(request));
      },
      WorkloadKind::tcp_rr);
  auto job = short_job(server.endpoint());
  job.workload.rate = base::RequestRate{2'000};
  job.workload.connections = 1;
  job.workload.timeout = milliseconds(100);
  job.workload.duration = milliseconds(200);
  const auto begun = base::monotonic_now();
  const auto result = run_client(job, -1);
  // All four hundred, one after another, would take eight seconds.
  EXPECT_LT(base::monotonic_now() - begun, std::chrono::seconds(4));
  ASSERT_TRUE(result) << base::describe_error(result.error());
  EXPECT_GT(result->requests, 0U);
  EXPECT_GT(result->errors.timed_out, 200U);
  EXPECT_EQ(result->errors.total(), result->errors.timed_out);
}

TEST_P(Failures, AReplyInManyPiecesIsNoFailure) {
  ScriptedServer server(
      [this](int fd, const RequestHeader& request) {
        ++requests_;
        const auto reply = reply_to(request);
        for (const char byte : reply) {
          if (!ScriptedServer::send_text(fd, std::string(1, byte))) return false;
        }
        return true;
      },
      GetParam().kind);
  const auto result = result_of(job_for(server.endpoint()));
  EXPECT_GT(result.requests, 0U);
  EXPECT_EQ(result.errors.total(), 0U);
}

TEST_P(Failures, AServerThatNeverListensIsAnErrorInWords) {
  // Bound but not listening: the port is ours and answers with a reset.
  const auto endpoint = any_port("127.0.0.1");
  base::UniqueFd bound(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const base::SocketAddress address(endpoint);
  ASSERT_EQ(::bind(bound.get(), address.get(), address.size()), 0);
  const auto server = *local_endpoint(bound.get());

  const auto result = run_client(job_for(server), -1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, base::ErrorKind::workload);
  EXPECT_EQ(result.error().message, fmt::format("connect {}: Connection refused", server));
  EXPECT_EQ(result.error().code, ECONNREFUSED);
}

TEST_P(Failures, AServerThatDropsEverythingIsAnErrorWithinTheTimeout) {
  // A listener that accepts nothing, its queue filled: further SYNs are dropped.
  const auto endpoint = any_port("127.0.0.1");
  base::UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const base::SocketAddress address(endpoint);
  ASSERT_EQ(::bind(listener.get(), address.get(), address.size()), 0);
  ASSERT_EQ(::listen(listener.get(), 0), 0);
  const auto server = *local_endpoint(listener.get());
  std::vector<base::UniqueFd> fillers;
  while (auto filler = connect_within(server, milliseconds(20), -1)) {
    fillers.push_back(std::move(*filler));
    ASSERT_LT(fillers.size(), 16U);
  }

  auto job = job_for(server);
  job.workload.timeout = milliseconds(50);
  const auto begun = base::monotonic_now();
  const auto result = run_client(job, -1);
  EXPECT_LT(base::monotonic_now() - begun, std::chrono::seconds(1));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, fmt::format("connect {}: Connection timed out", server));
}

TEST_P(Failures, AServerThatGoesAwayIsCountedAndNotAnError) {
  auto server = std::make_unique<RunningServer>(ServerJob{.kind = GetParam().kind, .listen = {}});
  auto job = job_for(server->endpoint());
  job.workload.warm_up = milliseconds(20);
  job.workload.duration = milliseconds(150);
  auto running = std::async(std::launch::async, [&] { return run_client(job, -1); });
  // Gone once it has answered something.
  while (running.wait_for(milliseconds(50)) != std::future_status::ready && server) server.reset();
  const auto result = running.get();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->errors.refused, 0U);
  EXPECT_EQ(result->errors.total(),
            result->errors.refused + result->errors.reset + result->errors.closed_early);
}

TEST_P(Failures, AStopEndsTheRunAtOnce) {
  StopEvent stop;
  ScriptedServer server(
      [&](int fd, const RequestHeader& request) {
        if (++requests_ == 20) stop.set();
        // From then on nothing is answered: a client asleep in its wait must wake up as well.
        return requests_ >= 20 || ScriptedServer::send_text(fd, reply_to(request));
      },
      GetParam().kind);
  auto job = job_for(server.endpoint());
  job.workload.duration = std::chrono::minutes(1);
  job.workload.timeout = std::chrono::minutes(1);
  const auto begun = base::monotonic_now();
  const auto result = run_client(job, stop.fd());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, base::ErrorKind::interrupted);
  EXPECT_LT(base::monotonic_now() - begun, std::chrono::seconds(2));
}

INSTANTIATE_TEST_SUITE_P(
    Traffic, Failures,
    ::testing::Values(Shape{WorkloadKind::tcp_rr, WaitStrategy::block, 1, false},
                      Shape{WorkloadKind::tcp_rr, WaitStrategy::hybrid, 1, false},
                      Shape{WorkloadKind::tcp_rr, WaitStrategy::spin, 1, false},
                      Shape{WorkloadKind::tcp_crr, WaitStrategy::block, 1, false},
                      Shape{WorkloadKind::tcp_crr, WaitStrategy::spin, 1, false},
                      Shape{WorkloadKind::tcp_rr, WaitStrategy::block, 3, false},
                      Shape{WorkloadKind::tcp_crr, WaitStrategy::block, 3, false},
                      Shape{WorkloadKind::tcp_rr, WaitStrategy::hybrid, 3, true},
                      Shape{WorkloadKind::tcp_crr, WaitStrategy::hybrid, 3, true},
                      Shape{WorkloadKind::http, WaitStrategy::block, 1, false},
                      Shape{WorkloadKind::http, WaitStrategy::spin, 3, false},
                      Shape{WorkloadKind::http, WaitStrategy::hybrid, 3, true},
                      Shape{WorkloadKind::http, WaitStrategy::block, 3, false, false},
                      Shape{WorkloadKind::http, WaitStrategy::hybrid, 3, true, false}),
    shape_name);

TEST(ErrorClasses, EveryErrnoHasItsClass) {
  const auto connect_class = [](int code) {
    TrafficErrors errors;
    count_connect_error(code, errors);
    return base::dump_json(base::to_json(errors));
  };
  EXPECT_THAT(connect_class(ECONNREFUSED), HasSubstr(R"("refused":1)"));
  EXPECT_THAT(connect_class(ECONNRESET), HasSubstr(R"("reset":1)"));
  EXPECT_THAT(connect_class(ETIMEDOUT), HasSubstr(R"("timed_out":1)"));
  EXPECT_THAT(connect_class(EHOSTUNREACH), HasSubstr(R"("unreachable":1)"));
  EXPECT_THAT(connect_class(ENETUNREACH), HasSubstr(R"("unreachable":1)"));
  EXPECT_THAT(connect_class(EADDRNOTAVAIL), HasSubstr(R"("address_unavailable":1)"));
  EXPECT_THAT(connect_class(EMFILE), HasSubstr(R"("other":1)"));

  TrafficErrors errors;
  count_exchange_error(ECONNRESET, errors);
  count_exchange_error(EPIPE, errors);
  count_exchange_error(ETIMEDOUT, errors);
  EXPECT_EQ(errors.reset, 2U);
  EXPECT_EQ(errors.timed_out, 1U);
}

}  // namespace
}  // namespace bench
