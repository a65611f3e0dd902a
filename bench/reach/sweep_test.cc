// The sweep against every kind of server there is, over loopback.
#include <gtest/gtest.h>
#include <poll.h>

#include "bench/reach/reach_frame.h"
#include "bench/reach/testing/on_loopback.h"

namespace bench::testing {
namespace {

using base::Protocol;

ReachCell only_cell(const ReachTarget& target, base::Duration timeout = std::chrono::seconds(5)) {
  const auto result = run_reach({.targets = {target}, .timeout = timeout}, -1);
  EXPECT_TRUE(result) << result.error().message;
  return result ? result->cells.at(0) : ReachCell{};
}

// Accepts one connection and does `act` with it.
std::jthread accept_one(int listener, std::function<void(int)> act) {
  return std::jthread([listener, act = std::move(act)] {
    const base::UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (fd) act(fd.get());
  });
}

// Until the other side has closed.
void drain(int fd) {
  char byte = 0;
  while (::recv(fd, &byte, 1, 0) > 0) {
  }
}

TEST(Sweep, TellsWhoAnswered) {
  const auto port = free_port();
  TestListener listener({.server_id = 7, .ports = {{port, Protocol::TCP}, {port, Protocol::UDP}}});
  ReachJob job{.timeout = std::chrono::seconds(5)};
  for (const auto protocol : {Protocol::TCP, Protocol::UDP}) {
    for (const bool v6 : {false, true}) {
      for (const std::uint32_t expected : {7U, 8U}) {
        job.targets.push_back(
            {.endpoint = on_loopback(port, v6), .protocol = protocol, .server_id = expected});
      }
    }
  }
  const auto result = run_reach(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->cells.size(), 8U);
  for (std::size_t i = 0; i < result->cells.size(); ++i) {
    const auto& cell = result->cells[i];
    EXPECT_EQ(cell.outcome, i % 2 == 0 ? ReachOutcome::answered : ReachOutcome::answered_by_other)
        << i;
    EXPECT_EQ(cell.answered_by, 7U) << i;
    EXPECT_EQ(cell.attempts, 1U) << i;
    EXPECT_LE(result->began_ns, cell.sent_ns);
    EXPECT_LT(cell.sent_ns, cell.done_ns);
    EXPECT_LE(cell.done_ns, result->ended_ns);
  }
  const auto& counts = listener.stop();
  ASSERT_TRUE(counts) << counts.error().message;
  EXPECT_EQ(counts->requests, 8U);
  EXPECT_EQ(counts->connections, 4U);
  EXPECT_EQ(counts->strangers, 0U);
}

TEST(Sweep, TellsAStrangerFromAServerOfOurs) {
  const auto listener = listen_tcp(on_loopback(0));
  ASSERT_TRUE(listener);
  const ReachTarget tcp{.endpoint = local_endpoint(listener->get()).value(), .server_id = 1};
  for (const std::string greeting : {"SSH-2.0-OpenSSH_9.2p1\r\n", "hello"}) {
    const auto server = accept_one(listener->get(), [&](int fd) {
      ::send(fd, greeting.data(), greeting.size(), MSG_NOSIGNAL);
      ::shutdown(fd, SHUT_WR);
      drain(fd);
    });
    const auto cell = only_cell(tcp);
    EXPECT_EQ(cell.outcome, ReachOutcome::answered_by_other) << greeting;
    EXPECT_EQ(cell.answered_by, std::nullopt);
  }

  const auto socket = bind_udp(on_loopback(0));
  ASSERT_TRUE(socket);
  std::jthread server([&] {
    base::SocketAddress client;
    char question[64];
    socklen_t* const size = client.capacity();
    if (::recvfrom(socket->get(), question, sizeof(question), 0, client.get(), size) < 0) return;
    // The length of an answer, and none.
    ::sendto(socket->get(), "0123456789abcdef", 16, 0, client.get(), client.size());
  });
  const auto cell = only_cell({.endpoint = local_endpoint(socket->get()).value(),
                               .protocol = Protocol::UDP,
                               .server_id = 1});
  EXPECT_EQ(cell.outcome, ReachOutcome::answered_by_other);
  EXPECT_EQ(cell.answered_by, std::nullopt);
}

TEST(Sweep, TellsSilenceAndTheCutFromARefusal) {
  const auto port = free_port();
  for (const auto protocol : {Protocol::TCP, Protocol::UDP}) {
    for (const bool v6 : {false, true}) {
      const auto cell =
          only_cell({.endpoint = on_loopback(port, v6), .protocol = protocol, .server_id = 1});
      EXPECT_EQ(cell.outcome, ReachOutcome::refused);
      EXPECT_EQ(cell.error_code, ECONNREFUSED);
    }
  }

  const auto listener = listen_tcp(on_loopback(0));
  ASSERT_TRUE(listener);
  const ReachTarget target{.endpoint = local_endpoint(listener->get()).value(), .server_id = 1};
  // Nobody accepts: the kernel does, and nothing follows.
  auto cell = only_cell(target, std::chrono::milliseconds(30));
  EXPECT_EQ(cell.outcome, ReachOutcome::silent);
  EXPECT_GE(cell.done_ns - cell.sent_ns, 30'000'000);
  const base::UniqueFd left(::accept4(listener->get(), nullptr, nullptr, SOCK_CLOEXEC));

  {
    const auto server = accept_one(listener->get(), [](int fd) {
      const linger at_once{.l_onoff = 1, .l_linger = 0};
      ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    });
    cell = only_cell(target);
    EXPECT_EQ(cell.outcome, ReachOutcome::cut);
    EXPECT_EQ(cell.error_code, ECONNRESET);
  }
}

TEST(Sweep, AsksADeafDatagramServerThreeTimes) {
  const auto socket = bind_udp(on_loopback(0));
  ASSERT_TRUE(socket);
  const auto cell = only_cell({.endpoint = local_endpoint(socket->get()).value(),
                               .protocol = Protocol::UDP,
                               .server_id = 1},
                              std::chrono::milliseconds(30));
  EXPECT_EQ(cell.outcome, ReachOutcome::timed_out);
  EXPECT_EQ(cell.error_code, 0);
  EXPECT_EQ(cell.attempts, udp_attempts);
  std::set<std::uint64_t> nonces;
  ReachQuestion question;
  while (::recv(socket->get(), &question, sizeof(question), MSG_DONTWAIT) == sizeof(question)) {
    nonces.insert(question.nonce);
  }
  EXPECT_EQ(nonces.size(), udp_attempts);
}

TEST(Sweep, TakesTheAnswerToALaterDatagram) {
  const auto socket = bind_udp(on_loopback(0));
  ASSERT_TRUE(socket);
  std::jthread server([&] {
    for (int i = 0; i < 2; ++i) {
      base::SocketAddress client;
      ReachQuestion question;
      socklen_t* const size = client.capacity();
      if (::recvfrom(socket->get(), &question, sizeof(question), 0, client.get(), size) < 0) return;
      if (i == 0) continue;  // the first is lost
      const ReachAnswer answer{.server_id = 4, .nonce = question.nonce};
      ::sendto(socket->get(), &answer, sizeof(answer), 0, client.get(), client.size());
    }
  });
  const auto cell = only_cell({.endpoint = local_endpoint(socket->get()).value(),
                               .protocol = Protocol::UDP,
                               .server_id = 4},
                              std::chrono::milliseconds(600));
  EXPECT_EQ(cell.outcome, ReachOutcome::answered);
  EXPECT_GE(cell.attempts, 2U);
}

TEST(Sweep, HasNoMoreInTheAirThanItMay) {
  const auto port = free_port();
  const TestListener listener(
      {.server_id = 1, .ports = {{port, Protocol::TCP}, {port, Protocol::UDP}}});
  ReachJob job{.timeout = std::chrono::seconds(5), .concurrency = 3};
  for (int i = 0; i < 100; ++i) {
    job.targets.push_back({.endpoint = on_loopback(port),
                           .protocol = i % 2 == 0 ? Protocol::TCP : Protocol::UDP,
                           .server_id = 1});
  }
  const auto result = run_reach(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  std::vector<std::pair<std::int64_t, int>> changes;
  for (const auto& cell : result->cells) {
    EXPECT_EQ(cell.outcome, ReachOutcome::answered);
    changes.emplace_back(cell.sent_ns, 1);
    changes.emplace_back(cell.done_ns, -1);
  }
  std::ranges::sort(changes);
  int in_air = 0;
  for (const auto& [at, change] : changes) {
    in_air += change;
    EXPECT_LE(in_air, 3);
  }
}

TEST(Sweep, EndsWhenItIsStopped) {
  const auto socket = bind_udp(on_loopback(0));
  ASSERT_TRUE(socket);
  const ReachJob job{.targets = {{.endpoint = local_endpoint(socket->get()).value(),
                                  .protocol = Protocol::UDP,
                                  .server_id = 1}},
                     .timeout = std::chrono::seconds(10)};
  RunsUntilStopped<base::Result<ReachResult>> sweep(
      [&](int stop_fd, const std::function<void()>& ready) {
        ready();
        return run_reach(job, stop_fd);
      });
  // It has asked by the time that its question is here.
  pollfd asked{.fd = socket->get(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(::poll(&asked, 1, 5'000), 1);
  const auto& result = sweep.stop();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, base::ErrorKind::interrupted);
}

TEST(Listener, NamesThePortItCannotHave) {
  const auto port = free_port();
  const TestListener first({.server_id = 1, .ports = {{port, Protocol::UDP}}});
  TestListener second({.server_id = 2, .ports = {{port, Protocol::TCP}, {port, Protocol::UDP}}});
  const auto& result = second.stop();
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message,
              ::testing::StartsWith(fmt::format("listen on UDP port {}: ", port)));
}

TEST(Listener, AnswersNoStranger) {
  const auto port = free_port();
  TestListener listener({.server_id = 1, .ports = {{port, Protocol::TCP}, {port, Protocol::UDP}}});
  const auto tcp = connect_within(on_loopback(port), std::chrono::seconds(5), -1);
  ASSERT_TRUE(tcp);
  ASSERT_EQ(::send(tcp->get(), "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
  char byte = 0;
  EXPECT_LE(::recv(tcp->get(), &byte, 1, 0), 0);

  const auto udp = udp_socket(base::SocketAddress(on_loopback(port)), 0);
  ASSERT_TRUE(udp);
  const FlowDatagram probe{.flow = 1};
  ASSERT_EQ(::send(udp->get(), &probe, sizeof(probe), 0), 16);
  // Answers come in the order of the questions: there is none to the first.
  const ReachQuestion question{.nonce = 99};
  ASSERT_EQ(::send(udp->get(), &question, sizeof(question), 0), 16);
  ReachAnswer answer;
  ASSERT_EQ(::recv(udp->get(), &answer, sizeof(answer), 0), 16);
  EXPECT_EQ(answer.nonce, 99U);
  const auto& counts = listener.stop();
  ASSERT_TRUE(counts);
  EXPECT_EQ(counts->strangers, 2U);
  EXPECT_EQ(counts->requests, 1U);
}

}  // namespace
}  // namespace bench::testing
