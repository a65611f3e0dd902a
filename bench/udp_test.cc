// UDP, where nothing says that a message was lost, came late or came twice: the client must tell,
// in the loop for one flow and in the one for many.
#include <future>
#include <map>
#include <memory>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/test_servers.h"

namespace bench {
namespace {

using std::chrono::milliseconds;

// One thread that hands each request to the test's function, with what sends a datagram back.
class ScriptedDatagrams {
 public:
  using Reply = std::function<void(const std::string& datagram)>;
  using Answer = std::function<void(const RequestHeader& request, const Reply& reply)>;

  explicit ScriptedDatagrams(Answer answer)
      : answer_(std::move(answer)), socket_(std::move(*bind_udp(any_port("127.0.0.1")))) {
    bound_waits(socket_.get(), milliseconds(10));
    thread_ = std::thread([this] { serve(); });
  }
  ~ScriptedDatagrams() {
    stop_ = true;
    thread_.join();
  }
  ScriptedDatagrams(const ScriptedDatagrams&) = delete;
  ScriptedDatagrams& operator=(const ScriptedDatagrams&) = delete;

  [[nodiscard]] base::Endpoint endpoint() const { return *local_endpoint(socket_.get()); }
  // Whom the request at hand came from. For the test's function.
  [[nodiscard]] int client_port() const { return client_port_; }
  // The ports clients came from. Call it once they are through.
  [[nodiscard]] const std::set<int>& client_ports() const { return client_ports_; }

 private:
  void serve() {
    char buffer[65536];
    while (!stop_) {
      base::SocketAddress client;
      const auto n =
          ::recvfrom(socket_.get(), buffer, sizeof(buffer), 0, client.get(), client.capacity());
      RequestHeader request;
      if (n < static_cast<ssize_t>(sizeof(request))) continue;
      std::memcpy(&request, buffer, sizeof(request));
      client_port_ = client.endpoint()->port;
      client_ports_.insert(client_port_);
      answer_(request, [client, fd = socket_.get()](const std::string& datagram) {
        ::sendto(fd, datagram.data(), datagram.size(), 0, client.get(), client.size());
      });
    }
  }

  Answer answer_;
  base::UniqueFd socket_;
  int client_port_ = 0;
  std::set<int> client_ports_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

struct Shape {
  WaitStrategy wait;
  int connections;
  bool open_loop;
};

class EveryUdpLoop : public ::testing::TestWithParam<Shape> {
 protected:
  static ClientJob job_for(const base::Endpoint& server) {
    auto job = short_job(server);
    job.workload.kind = WorkloadKind::udp_rr;
    job.workload.wait = GetParam().wait;
    job.workload.connections = GetParam().connections;
    job.workload.timeout = milliseconds(30);
    job.workload.duration = milliseconds(150);
    if (GetParam().open_loop) {
      // So few that never all three flows wait in vain: a tenth of twelve requests within a
      // timeout.
      job.workload.rate = base::RequestRate{200};
      job.workload.timeout = milliseconds(60);
      job.workload.duration = milliseconds(400);
    }
    return job;
  }
  // Every tenth request, but never one that opens a flow, is answered as the test says.
  ScriptedDatagrams::Answer tenth(const ScriptedDatagrams::Answer& wrongly) {
    return [this, wrongly](const RequestHeader& request, const ScriptedDatagrams::Reply& reply) {
      if (++requests_ % 10 != 0 || request.sequence == 1) {
        return reply(ScriptedServer::reply_to(request));
      }
      ++faults_;
      wrongly(request, reply);
    };
  }
  // As many failures of that kind as the server made, nothing else, and every flow still its own.
  void expect_only(ScriptedDatagrams& server, std::uint64_t TrafficErrors::* kind) {
    const auto result = run_client(job_for(server.endpoint()), -1);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_GT(faults_, 0U);
    EXPECT_EQ(result->errors.*kind, faults_);
    EXPECT_EQ(result->errors.total(), faults_);
    EXPECT_GT(result->requests, 0U);
    EXPECT_EQ(result->connections_opened, static_cast<std::uint64_t>(GetParam().connections));
    EXPECT_THAT(server.client_ports(), ::testing::UnorderedElementsAreArray(result->local_ports));
  }

  std::uint64_t requests_ = 0;  // of the server's thread until the client is through
  std::atomic<std::uint64_t> faults_ = 0;
};

TEST_P(EveryUdpLoop, ALostDatagramTimesOutAndTheFlowStays) {
  ScriptedDatagrams server(tenth([](const auto&, const auto&) {}));
  expect_only(server, &TrafficErrors::timed_out);
}

// Two lost datagrams are no server that is not there.
TEST_P(EveryUdpLoop, AFlowOpensThoughItsFirstDatagramsAreLost) {
  ScriptedDatagrams server([](const RequestHeader& request, const auto& reply) {
    if (request.sequence > 2) reply(ScriptedServer::reply_to(request));
  });
  const auto result = run_client(job_for(server.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->requests, 0U);
  EXPECT_EQ(result->errors.total(), 0U);
  EXPECT_EQ(result->connections_opened, static_cast<std::uint64_t>(GetParam().connections));
}

TEST_P(EveryUdpLoop, AReplyThatComesLateIsNotTakenForTheNext) {
  struct Held {
    RequestHeader request;
    ScriptedDatagrams::Reply reply;
  };
  std::map<std::pair<int, std::uint64_t>, Held> held;  // by port and the sequence they come before
  std::uint64_t late = 0;
  ScriptedDatagrams server([&](const RequestHeader& request, const auto& reply) {
    const auto port = server.client_port();
    if (request.sequence % 10 == 0) {
      held[{port, request.sequence + 1}] = {request, reply};
      return;
    }
    if (const auto before = held.extract({port, request.sequence})) {
      ++late;
      before.mapped().reply(ScriptedServer::reply_to(before.mapped().request, 66));
    }
    reply(ScriptedServer::reply_to(request));
  });
  const auto result = run_client(job_for(server.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(late, 0U);
  EXPECT_GE(result->errors.timed_out, late);
  EXPECT_EQ(result->errors.total(), result->errors.timed_out);
  EXPECT_THAT(result->answered_by, ::testing::ElementsAre(::testing::Pair("1", result->requests)));
}

TEST_P(EveryUdpLoop, AReplyThatComesTwiceIsCountedOnce) {
  ScriptedDatagrams server([](const RequestHeader& request, const ScriptedDatagrams::Reply& reply) {
    reply(ScriptedServer::reply_to(request));
    reply(ScriptedServer::reply_to(request));
  });
  const auto result = run_client(job_for(server.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->requests, 0U);
  EXPECT_EQ(result->errors.total(), 0U);
}

TEST_P(EveryUdpLoop, ADatagramThatIsNotTheReplyIsABadReply) {
  ScriptedDatagrams server(tenth([](RequestHeader request, const auto& reply) {
    ++request.sequence;
    reply(ScriptedServer::reply_to(request));
  }));
  expect_only(server, &TrafficErrors::bad_reply);
}

TEST_P(EveryUdpLoop, APartOfAReplyIsABadReply) {
  ScriptedDatagrams server(tenth([](const RequestHeader& request, const auto& reply) {
    reply(ScriptedServer::reply_to(request).substr(0, 30));
  }));
  expect_only(server, &TrafficErrors::bad_reply);
}

TEST_P(EveryUdpLoop, AnEmptyDatagramIsABadReply) {
  ScriptedDatagrams server(tenth([](const auto&, const auto& reply) { reply(""); }));
  expect_only(server, &TrafficErrors::bad_reply);
}

TEST_P(EveryUdpLoop, APortWhereNobodyListensIsAnErrorInWords) {
  auto bound = bind_udp(any_port("127.0.0.1"));
  const auto server = *local_endpoint(bound->get());
  bound->reset();
  const auto result = run_client(job_for(server), -1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, base::ErrorKind::workload);
  EXPECT_EQ(result.error().message, fmt::format("connect {}: Connection refused", server));
}

TEST_P(EveryUdpLoop, AServerThatNeverAnswersIsAnErrorWithinTheTimeout) {
  ScriptedDatagrams server([](const auto&, const auto&) {});
  const auto result = run_client(job_for(server.endpoint()), -1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message,
            fmt::format("connect {}: Connection timed out", server.endpoint()));
}

TEST_P(EveryUdpLoop, AServerThatGoesAwayIsCountedAndNotAnError) {
  auto server =
      std::make_unique<RunningServer>(ServerJob{.kind = WorkloadKind::udp_rr, .listen = {}});
  const auto job = job_for(server->endpoint());
  auto running = std::async(std::launch::async, [&] { return run_client(job, -1); });
  while (running.wait_for(milliseconds(50)) != std::future_status::ready && server) server.reset();
  const auto result = running.get();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->errors.refused, 0U);
  EXPECT_EQ(result->errors.total(), result->errors.refused + result->errors.timed_out);
}

TEST_P(EveryUdpLoop, AStopEndsTheRunAtOnce) {
  StopEvent stop;
  std::uint64_t requests = 0;
  ScriptedDatagrams server(
      [&](const RequestHeader& request, const ScriptedDatagrams::Reply& reply) {
        if (++requests == 20) stop.set();
        if (requests < 20) reply(ScriptedServer::reply_to(request));
      });
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
    Udp, EveryUdpLoop,
    ::testing::Values(Shape{WaitStrategy::block, 1, false}, Shape{WaitStrategy::hybrid, 1, false},
                      Shape{WaitStrategy::spin, 1, false}, Shape{WaitStrategy::block, 3, false},
                      Shape{WaitStrategy::spin, 3, false}, Shape{WaitStrategy::hybrid, 3, true}),
    [](const auto& parameters) {
      return fmt::format("{}_{}_{}", base::enum_name(parameters.param.wait),
                         parameters.param.connections,
                         parameters.param.open_loop ? "open" : "closed");
    });

class EveryUdpServer : public ::testing::TestWithParam<WaitStrategy> {};

TEST_P(EveryUdpServer, AnswersRequestsAndCountsWhatIsNone) {
  RunningServer server(
      {.kind = WorkloadKind::udp_rr, .wait = GetParam(), .listen = {}, .server_id = 9});
  const auto client = udp_socket(base::SocketAddress(server.endpoint()), 0);
  ASSERT_TRUE(client);
  bound_waits(client->get(), std::chrono::seconds(1));
  const auto request = [](RequestHeader header, std::size_t size) {
    std::string text(size, '\0');
    encode(header, text.data());
    return text;
  };
  const RequestHeader sound{.request_bytes = 64, .response_bytes = 32, .sequence = 7};
  auto long_reply = sound;
  long_reply.response_bytes = 65'508;
  auto no_reply = sound;
  no_reply.response_bytes = 0;
  for (const auto& none :
       {std::string(), std::string(15, 'x'), std::string(64, '\xff'), request(sound, 63),
        request(sound, 65), request(long_reply, 64), request(no_reply, 64)}) {
    ASSERT_EQ(::send(client->get(), none.data(), none.size(), 0),
              static_cast<ssize_t>(none.size()));
  }
  ASSERT_TRUE(ScriptedServer::send_text(client->get(), request(sound, 64)));
  char reply[100];
  ASSERT_EQ(::recv(client->get(), reply, sizeof(reply), 0), 32);
  ReplyHeader header;
  std::memcpy(&header, reply, sizeof(header));
  EXPECT_EQ(header.response_bytes, 32U);
  EXPECT_EQ(header.sequence, 7U);
  EXPECT_EQ(header.server_id, 9U);
  const auto result = server.result();
  EXPECT_EQ(result.requests, 1U);
  EXPECT_EQ(result.bad_requests, 7U);
  EXPECT_EQ(result.connections, 1U);
  EXPECT_THAT(result.clients, ::testing::ElementsAre(::testing::Pair("127.0.0.1", 1)));
}

TEST_P(EveryUdpServer, ASecondClientIsServedWhileTheFirstIsBusyAtAnotherAddress) {
  RunningServer server({.kind = WorkloadKind::udp_rr,
                        .wait = GetParam(),
                        .listen = {any_port("127.0.0.1"), any_port("::1")}});
  auto job = short_job(server.endpoint(0));
  job.workload.kind = WorkloadKind::udp_rr;
  job.workload.duration = milliseconds(200);
  auto first = std::async(std::launch::async, [&] { return run_client(job, -1); });
  auto second_job = job;
  second_job.servers = {server.endpoint(1)};
  second_job.workload.duration = milliseconds(60);
  const auto second = run_client(second_job, -1);
  const auto first_result = first.get();
  ASSERT_TRUE(first_result);
  ASSERT_TRUE(second);
  EXPECT_GT(second->requests, 0U);
  EXPECT_EQ(second->errors.total() + first_result->errors.total(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Udp, EveryUdpServer,
                         ::testing::Values(WaitStrategy::block, WaitStrategy::hybrid,
                                           WaitStrategy::spin),
                         [](const auto& parameters) {
                           return std::string(base::enum_name(parameters.param));
                         });

TEST(UdpServer, WhenIdleASpinnerUsesNoCpu) {
  RunningServer server({.kind = WorkloadKind::udp_rr, .wait = WaitStrategy::spin, .listen = {}});
  auto job = short_job(server.endpoint());
  job.workload.kind = WorkloadKind::udp_rr;
  ASSERT_TRUE(run_client(job, -1));
  // Waiting is what is tested here, as for the server over TCP.
  std::this_thread::sleep_for(milliseconds(300));
  const auto result = server.result();
  EXPECT_LT(result.cpu_user_ns + result.cpu_system_ns, 200'000'000);
}

}  // namespace
}  // namespace bench
