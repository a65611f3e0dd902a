// Streams over loopback: what one end says it sent the other says it received, and a path or a peer
// that loses, repeats, swaps, lies or stands still is told exactly.
#include <map>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include "bench/datagram_receiver.h"
#include "bench/test_servers.h"

namespace bench {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::Pair;

// ---- tcp_stream
// -----------------------------------------------------------------------------------

ClientJob tcp_job(const base::Endpoint& server) {
  auto job = short_job(server);
  job.workload.kind = WorkloadKind::tcp_stream;
  return job;
}

struct TcpShape {
  WaitStrategy wait;
  int connections;
  bool paced;
};

class EveryTcpStream : public ::testing::TestWithParam<TcpShape> {};

TEST_P(EveryTcpStream, BothEndsCountTheSame) {
  RunningServer server({.kind = WorkloadKind::tcp_stream, .listen = {}, .server_id = 42});
  auto job = tcp_job(server.endpoint());
  job.workload.wait = GetParam().wait;
  job.workload.connections = GetParam().connections;
  if (GetParam().paced) job.workload.rate = base::RequestRate{1'000};
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  const auto seen = server.result();

  const auto connections = static_cast<std::uint64_t>(GetParam().connections);
  ASSERT_TRUE(result->stream);
  EXPECT_EQ(result->errors.total(), 0U);
  EXPECT_GT(result->stream->bytes, 0U);
  EXPECT_LE(result->stream->bytes, result->stream->delivered_bytes);
  EXPECT_EQ(result->stream->delivered_bytes, seen.received);
  EXPECT_EQ(result->requests, result->stream->bytes / default_write.count);
  EXPECT_EQ(result->stream->interface, "lo");
  EXPECT_GT(result->stream->bytes_per_skb.value_or(0), 0);
  EXPECT_THAT(result->answered_by, ElementsAre(Pair("42", connections)));
  EXPECT_EQ(result->connections_opened, connections);
  EXPECT_EQ(seen.connections, connections);
  EXPECT_EQ(seen.requests, 2 * connections);  // an opening and a closing each
  EXPECT_EQ(seen.bad_requests, 0U);
  EXPECT_EQ(result->latency.count(), 0U);
  EXPECT_FALSE(result->littles_law_violated);
}

INSTANTIATE_TEST_SUITE_P(Tcp, EveryTcpStream,
                         ::testing::Values(TcpShape{WaitStrategy::block, 1, false},
                                           TcpShape{WaitStrategy::block, 3, false},
                                           TcpShape{WaitStrategy::spin, 1, false},
                                           TcpShape{WaitStrategy::spin, 3, false},
                                           TcpShape{WaitStrategy::block, 1, true},
                                           TcpShape{WaitStrategy::hybrid, 3, true}),
                         [](const auto& parameters) {
                           return fmt::format("{}_{}_{}", base::enum_name(parameters.param.wait),
                                              parameters.param.connections,
                                              parameters.param.paced ? "paced" : "full");
                         });

TEST(TcpStream, ASchedulesEveryWriteIsSentOnceAndItsLatenessNoted) {
  RunningServer server({.kind = WorkloadKind::tcp_stream, .listen = {}});
  auto job = tcp_job(server.endpoint());
  job.workload.rate = base::RequestRate{500};
  job.workload.request = base::Bytes{1'000};
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->loop, "open");
  // The very last may fall due after the loop's last look at the clock.
  EXPECT_THAT(result->lateness.count(), ::testing::AnyOf(29U, 30U));
  EXPECT_EQ(result->stream->delivered_bytes, 1'000 * result->lateness.count());
}

// A listener that takes one stream, answers its opening, and then does what the test says.
class ScriptedReader {
 public:
  explicit ScriptedReader(std::function<void(int fd)> after_opening)
      : listener_(std::move(*listen_tcp(any_port("127.0.0.1")))) {
    thread_ = std::thread([this, act = std::move(after_opening)] {
      const base::UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      RequestHeader request;
      if (::recv(fd.get(), &request, sizeof(request), MSG_WAITALL) != sizeof(request)) return;
      const ReplyHeader reply{
          .response_bytes = header_bytes, .server_id = 1, .sequence = request.sequence};
      ::send(fd.get(), &reply, sizeof(reply), MSG_NOSIGNAL);
      act(fd.get());
    });
  }
  ~ScriptedReader() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  ScriptedReader(const ScriptedReader&) = delete;
  ScriptedReader& operator=(const ScriptedReader&) = delete;

  [[nodiscard]] base::Endpoint endpoint() const { return *local_endpoint(listener_.get()); }

  // Everything up to the FIN: how much it was.
  static std::uint64_t drain(int fd) {
    std::vector<char> buffer(65'536);
    std::uint64_t all = 0;
    for (;;) {
      const auto n = ::recv(fd, buffer.data(), buffer.size(), 0);
      if (n <= 0) return all;
      all += static_cast<std::uint64_t>(n);
    }
  }
  static void say(int fd, std::uint64_t bytes) {
    const StreamReport report{
        .header = {.response_bytes = sizeof(StreamReport), .server_id = 1, .sequence = 2},
        .bytes = bytes};
    ::send(fd, &report, sizeof(report), MSG_NOSIGNAL);
  }

 private:
  base::UniqueFd listener_;
  std::thread thread_;
};

TEST(TcpStream, AReaderThatSaysOneByteLessIsABadReply) {
  ScriptedReader honest([](int fd) { ScriptedReader::say(fd, ScriptedReader::drain(fd)); });
  const auto clean = run_client(tcp_job(honest.endpoint()), -1);
  ASSERT_TRUE(clean) << clean.error().message;
  EXPECT_EQ(clean->errors.total(), 0U);

  ScriptedReader liar([](int fd) { ScriptedReader::say(fd, ScriptedReader::drain(fd) - 1); });
  const auto result = run_client(tcp_job(liar.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->errors.bad_reply, 1U);
  EXPECT_EQ(result->errors.total(), 1U);
}

TEST(TcpStream, AReaderThatSaysNothingAtTheEndClosedEarly) {
  ScriptedReader server([](int fd) { ScriptedReader::drain(fd); });
  const auto result = run_client(tcp_job(server.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->errors.closed_early, 1U);
  EXPECT_EQ(result->errors.total(), 1U);
}

TEST(TcpStream, AReaderThatStandsStillTimesOutAndWhatItNeverTookIsNotCounted) {
  StopEvent end;
  ScriptedReader server([&](int) {
    pollfd wait{.fd = end.fd(), .events = POLLIN, .revents = 0};
    ::poll(&wait, 1, -1);
  });
  auto job = tcp_job(server.endpoint());
  job.workload.timeout = milliseconds(100);
  const auto result = run_client(job, -1);
  end.set();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->errors.timed_out, 1U);
  EXPECT_EQ(result->errors.total(), 1U);
  EXPECT_EQ(result->stream->delivered_bytes, 0U);
}

TEST(TcpStream, AReaderThatResetsIsCountedOnce) {
  ScriptedReader server([](int fd) {
    std::vector<char> some(100'000);
    ::recv(fd, some.data(), some.size(), MSG_WAITALL);
    ScriptedServer::reset_on_close(fd);
  });
  const auto result = run_client(tcp_job(server.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->errors.reset, 1U);
  EXPECT_EQ(result->errors.total(), 1U);
}

TEST(TcpStream, APortWhereNobodyListensIsAnErrorInWords) {
  auto listener = listen_tcp(any_port("127.0.0.1"));
  const auto server = *local_endpoint(listener->get());
  listener->reset();
  const auto result = run_client(tcp_job(server), -1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, base::ErrorKind::workload);
  EXPECT_EQ(result.error().message, fmt::format("connect {}: Connection refused", server));
}

TEST(TcpStream, AStopEndsTheRunAtOnce) {
  StopEvent stop;
  ScriptedReader server([&](int fd) {
    std::vector<char> some(1'000'000);
    ::recv(fd, some.data(), some.size(), MSG_WAITALL);
    stop.set();
    ScriptedReader::drain(fd);
  });
  auto job = tcp_job(server.endpoint());
  job.workload.duration = job.workload.timeout = std::chrono::minutes(1);
  const auto begun = base::monotonic_now();
  const auto result = run_client(job, stop.fd());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, base::ErrorKind::interrupted);
  EXPECT_LT(base::monotonic_now() - begun, std::chrono::seconds(2));
}

TEST(TcpStreamServer, CountsWhatOpensNoStream) {
  RunningServer server({.kind = WorkloadKind::tcp_stream, .listen = {}});
  const auto speak = [&](const RequestHeader& opening) {
    auto fd = connect_within(server.endpoint(), std::chrono::seconds(1), -1);
    ASSERT_TRUE(fd);
    ASSERT_EQ(::send(fd->get(), &opening, sizeof(opening), MSG_NOSIGNAL),
              static_cast<ssize_t>(sizeof(opening)));
    char end = 0;
    EXPECT_LE(::recv(fd->get(), &end, 1, 0), 0);
  };
  speak({.request_bytes = 3, .response_bytes = header_bytes, .sequence = 1});
  speak({.request_bytes = header_bytes, .response_bytes = 1'000, .sequence = 1});
  const auto result = server.result();
  EXPECT_EQ(result.bad_requests, 2U);
  EXPECT_EQ(result.requests, 0U);
}

// ---- udp_stream
// -----------------------------------------------------------------------------------

ClientJob udp_job(const base::Endpoint& server) {
  auto job = short_job(server);
  job.workload.kind = WorkloadKind::udp_stream;
  job.workload.rate = base::RequestRate{2'000};
  job.workload.duration = milliseconds(100);
  job.workload.timeout = milliseconds(300);
  return job;
}

struct UdpShape {
  WaitStrategy wait;
  int connections;
};

class EveryUdpStream : public ::testing::TestWithParam<UdpShape> {};

TEST_P(EveryUdpStream, BothEndsCountTheSame) {
  RunningServer server({.kind = WorkloadKind::udp_stream, .listen = {}, .server_id = 42});
  auto job = udp_job(server.endpoint());
  job.workload.wait = GetParam().wait;
  job.workload.connections = GetParam().connections;
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  const auto seen = server.result();
  const auto flows = static_cast<std::uint64_t>(GetParam().connections);
  ASSERT_TRUE(result->datagrams);
  EXPECT_EQ(result->errors.total(), 0U);
  EXPECT_EQ(result->datagrams->sent, 200U);
  EXPECT_EQ(result->datagrams->received, 200U);
  EXPECT_EQ(result->requests, 200U);
  EXPECT_EQ(result->lateness.count(), 200U);
  EXPECT_EQ(result->datagrams->lost + result->datagrams->reordered + result->datagrams->duplicates +
                result->datagrams->overflowed,
            0U);
  EXPECT_GT(result->datagrams->jitter_mean_ns, 0);
  EXPECT_GE(result->datagrams->jitter_max_ns, result->datagrams->jitter_mean_ns);
  EXPECT_DOUBLE_EQ(result->rate_per_second, 2'000);
  EXPECT_EQ(seen.received, 200U);
  EXPECT_EQ(seen.connections, flows);
  EXPECT_EQ(seen.bad_requests, 0U);
  EXPECT_THAT(result->answered_by, ElementsAre(Pair("42", flows)));
  EXPECT_EQ(result->connections_opened, flows);
}

INSTANTIATE_TEST_SUITE_P(Udp, EveryUdpStream,
                         ::testing::Values(UdpShape{WaitStrategy::block, 1},
                                           UdpShape{WaitStrategy::hybrid, 3},
                                           UdpShape{WaitStrategy::spin, 2}),
                         [](const auto& parameters) {
                           return fmt::format("{}_{}", base::enum_name(parameters.param.wait),
                                              parameters.param.connections);
                         });

TEST(UdpStream, WarmUpIsNotOfTheWindow) {
  RunningServer server({.kind = WorkloadKind::udp_stream, .listen = {}});
  auto job = udp_job(server.endpoint());
  job.workload.warm_up = milliseconds(50);
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->datagrams->sent, 300U);
  EXPECT_EQ(result->requests, 200U);
  EXPECT_EQ(result->lateness.count(), 200U);
}

// Between client and server: exchanges pass, numbered datagrams go through the test's hands.
class Relay {
 public:
  using Forward = std::function<void(const std::string& datagram)>;
  using Handle = std::function<void(std::uint64_t sequence, const std::string& datagram,
                                    const Forward& forward)>;

  Relay(const base::Endpoint& server, Handle handle)
      : server_(server),
        handle_(std::move(handle)),
        socket_(std::move(*bind_udp(any_port("127.0.0.1")))) {
    enlarge_receive_buffer(socket_.get());
    thread_ = std::thread([this] { serve(); });
  }
  ~Relay() {
    stop_.set();
    thread_.join();
  }
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  [[nodiscard]] base::Endpoint endpoint() const { return *local_endpoint(socket_.get()); }

 private:
  struct Path {
    base::SocketAddress client;
    base::UniqueFd upstream;
  };

  void serve() {
    std::vector<char> buffer(65'536);
    for (;;) {
      std::vector<pollfd> polls{{.fd = stop_.fd(), .events = POLLIN, .revents = 0},
                                {.fd = socket_.get(), .events = POLLIN, .revents = 0}};
      std::vector<const Path*> order;
      for (const auto& [client, path] : paths_) {
        polls.push_back({.fd = path.upstream.get(), .events = POLLIN, .revents = 0});
        order.push_back(&path);
      }
      if (::poll(polls.data(), polls.size(), -1) < 0 || polls[0].revents != 0) return;
      for (std::size_t i = 0; i < order.size(); ++i) {
        if (polls[i + 2].revents == 0) continue;
        const auto n = ::recv(order[i]->upstream.get(), buffer.data(), buffer.size(), 0);
        if (n < 0) continue;
        ::sendto(socket_.get(), buffer.data(), static_cast<std::size_t>(n), 0,
                 order[i]->client.get(), order[i]->client.size());
      }
      if (polls[1].revents != 0) take(buffer);
    }
  }

  void take(std::vector<char>& buffer) {
    base::SocketAddress client;
    socklen_t* const size = client.capacity();
    const auto n = ::recvfrom(socket_.get(), buffer.data(), buffer.size(), 0, client.get(), size);
    RequestHeader request;
    if (n < static_cast<ssize_t>(sizeof(request))) return;
    std::memcpy(&request, buffer.data(), sizeof(request));
    auto& path = paths_[*client.endpoint()];
    if (!path.upstream) {
      path.client = client;
      path.upstream = std::move(*udp_socket(base::SocketAddress(server_), 0));
    }
    const std::string datagram(buffer.data(), static_cast<std::size_t>(n));
    const Forward forward = [fd = path.upstream.get()](const std::string& text) {
      ::send(fd, text.data(), text.size(), 0);
    };
    if (request.response_bytes != 0) return forward(datagram);
    handle_(request.sequence, datagram, forward);
  }

  base::Endpoint server_;
  Handle handle_;
  base::UniqueFd socket_;
  StopEvent stop_;
  std::map<base::Endpoint, Path> paths_;
  std::thread thread_;
};

struct ThroughRelay {
  ClientResult client;
  ServerResult server;
};
ThroughRelay run_through(Relay::Handle handle, int connections) {
  RunningServer server({.kind = WorkloadKind::udp_stream, .listen = {}});
  Relay relay(server.endpoint(), std::move(handle));
  auto job = udp_job(relay.endpoint());
  job.workload.connections = connections;
  const auto result = run_client(job, -1);
  EXPECT_TRUE(result) << result.error().message;
  ClientResult nothing;
  nothing.datagrams.emplace();
  return {result.value_or(nothing), server.result()};
}

TEST(UdpStream, EveryTenthThatIsDroppedIsLostAndNothingElseIs) {
  for (const int connections : {1, 4}) {
    const auto seen = run_through(
        [](std::uint64_t sequence, const std::string& datagram, const auto& forward) {
          if (sequence % 10 != 0) forward(datagram);
        },
        connections);
    const auto& datagrams = *seen.client.datagrams;
    EXPECT_EQ(datagrams.sent, 200U);
    EXPECT_EQ(datagrams.received, 180U);
    EXPECT_EQ(datagrams.lost, 20U);
    EXPECT_EQ(datagrams.reordered + datagrams.duplicates + datagrams.overflowed, 0U);
    EXPECT_EQ(seen.client.errors.lost, 20U);
    EXPECT_EQ(seen.client.errors.total(), 20U);
    EXPECT_EQ(seen.client.requests, 180U);
    EXPECT_DOUBLE_EQ(seen.client.rate_per_second, 1'800);
  }
}

TEST(UdpStream, EveryTenthThatComesTwiceIsADuplicateAndNoError) {
  const auto seen = run_through(
      [](std::uint64_t sequence, const std::string& datagram, const auto& forward) {
        forward(datagram);
        if (sequence % 10 == 0) forward(datagram);
      },
      1);
  EXPECT_EQ(seen.client.datagrams->received, 200U);
  EXPECT_EQ(seen.client.datagrams->duplicates, 20U);
  EXPECT_EQ(seen.client.datagrams->reordered, 0U);
  EXPECT_EQ(seen.client.errors.total(), 0U);
  EXPECT_EQ(seen.server.received, 220U);
}

TEST(UdpStream, NeighboursThatChangePlacesAreOneReorderedEach) {
  std::string held;
  const auto seen = run_through(
      [&held](std::uint64_t sequence, const std::string& datagram, const auto& forward) {
        if (sequence % 10 == 5) {
          held = datagram;
          return;
        }
        forward(datagram);
        if (sequence % 10 == 6) forward(held);
      },
      1);
  EXPECT_EQ(seen.client.datagrams->received, 200U);
  EXPECT_EQ(seen.client.datagrams->reordered, 20U);
  EXPECT_EQ(seen.client.datagrams->duplicates, 0U);
  EXPECT_EQ(seen.client.errors.total(), 0U);
}

TEST(UdpStream, AServerThatGoesAwayLosesWhatItNeverReportedOn) {
  auto bound = bind_udp(any_port("127.0.0.1"));
  const auto endpoint = *local_endpoint(bound->get());
  std::thread once([&bound] {
    // Answers the opening, as a server does, and is gone.
    base::SocketAddress client;
    socklen_t* const size = client.capacity();
    RequestHeader request;
    ::recvfrom(bound->get(), &request, sizeof(request), 0, client.get(), size);
    const auto reply = ScriptedServer::reply_to(request);
    ::sendto(bound->get(), reply.data(), reply.size(), 0, client.get(), client.size());
    bound->reset();
  });
  const auto result = run_client(udp_job(endpoint), -1);
  once.join();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->datagrams->sent, 0U);
  EXPECT_EQ(result->errors.lost, result->datagrams->sent);
  EXPECT_GT(result->errors.refused, 0U);
  EXPECT_EQ(result->errors.total(), result->errors.lost + result->errors.refused);
  EXPECT_EQ(result->requests, 0U);
}

TEST(UdpStream, APortWhereNobodyListensIsAnErrorInWords) {
  auto bound = bind_udp(any_port("127.0.0.1"));
  const auto server = *local_endpoint(bound->get());
  bound->reset();
  const auto result = run_client(udp_job(server), -1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, fmt::format("connect {}: Connection refused", server));
}

TEST(UdpStream, WithoutARateIsRefused) {
  auto job = udp_job(any_port("127.0.0.1"));
  job.workload.rate = {};
  const auto result = run_client(job, -1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, base::ErrorKind::input);
  EXPECT_EQ(result.error().message, "rate: a udp_stream needs one, for nothing else holds it back");
}

TEST(UdpStream, AStopEndsTheRunAtOnce) {
  RunningServer server({.kind = WorkloadKind::udp_stream, .listen = {}});
  StopEvent stop;
  std::uint64_t seen = 0;
  Relay relay(server.endpoint(), [&](std::uint64_t, const std::string&, const auto&) {
    if (++seen == 20) stop.set();
  });
  auto job = udp_job(relay.endpoint());
  job.workload.duration = std::chrono::minutes(1);
  const auto begun = base::monotonic_now();
  const auto result = run_client(job, stop.fd());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, base::ErrorKind::interrupted);
  EXPECT_LT(base::monotonic_now() - begun, std::chrono::seconds(2));
}

TEST(UdpStreamServer, DatagramsOfNoOpenFlowAreNoneOfItsOwn) {
  RunningServer server({.kind = WorkloadKind::udp_stream, .listen = {}});
  const auto client = udp_socket(base::SocketAddress(server.endpoint()), 0);
  ASSERT_TRUE(client);
  bound_waits(client->get(), std::chrono::seconds(1));
  std::string datagram(least_stamped_bytes, '\0');
  encode(RequestHeader{.request_bytes = least_stamped_bytes, .response_bytes = 0, .sequence = 1},
         datagram.data());
  ASSERT_TRUE(ScriptedServer::send_text(client->get(), datagram));
  std::string opening(header_bytes, '\0');
  encode(
      RequestHeader{
          .request_bytes = header_bytes, .response_bytes = flow_report_bytes, .sequence = 1},
      opening.data());
  ASSERT_TRUE(ScriptedServer::send_text(client->get(), opening));
  char reply[100];
  ASSERT_EQ(::recv(client->get(), reply, sizeof(reply), 0),
            static_cast<ssize_t>(flow_report_bytes));
  ASSERT_TRUE(ScriptedServer::send_text(client->get(), datagram));
  ASSERT_TRUE(ScriptedServer::send_text(client->get(), opening));
  ASSERT_EQ(::recv(client->get(), reply, sizeof(reply), 0),
            static_cast<ssize_t>(flow_report_bytes));
  FlowReport report;
  std::memcpy(&report, reply + header_bytes, sizeof(report));
  EXPECT_EQ(report.received, 1U);
  const auto result = server.result();
  EXPECT_EQ(result.bad_requests, 1U);
  EXPECT_EQ(result.received, 1U);
}

// ---- what a receiver's socket loses
// ----------------------------------------------------------------

TEST(DroppedAt, CountsWhatFoundNoRoom) {
  auto socket = bind_udp(any_port("127.0.0.1"));
  ASSERT_TRUE(socket);
  const int least = 1;  // the kernel's minimum
  ASSERT_EQ(::setsockopt(socket->get(), SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), 0);
  const auto sender = udp_socket(base::SocketAddress(*local_endpoint(socket->get())), 0);
  const std::string datagram(1'000, 'x');
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(ScriptedServer::send_text(sender->get(), datagram));
  }
  std::uint64_t received = 0;
  char buffer[2'000];
  while (::recv(socket->get(), buffer, sizeof(buffer), MSG_DONTWAIT) > 0) ++received;
  EXPECT_GT(received, 0U);
  EXPECT_GT(dropped_at(socket->get()), 0U);
  EXPECT_EQ(dropped_at(socket->get()) + received, 50U);
}

TEST(DatagramReceiver, ReportsWhatItsSocketDroppedSinceTheFlowOpened) {
  DatagramReceiver receiver;
  const base::SocketAddress client(base::Endpoint{*base::IpAddress::parse("10.0.0.1"), 5000});
  FlowReport report;
  ASSERT_TRUE(receiver.report(client, 7, reinterpret_cast<char*>(&report)));
  EXPECT_EQ(report.overflowed, 0U);
  ASSERT_TRUE(receiver.report(client, 12, reinterpret_cast<char*>(&report)));
  EXPECT_EQ(report.overflowed, 5U);
}

}  // namespace
}  // namespace bench
