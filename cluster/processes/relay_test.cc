// On the loopback interface, without a namespace between.
#include "cluster/processes/relay.h"

#include <thread>

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/fd.h"

namespace cluster::processes {
namespace {

using base::UniqueFd;

base::Endpoint loopback(std::uint16_t port) {
  return {.address = base::IpAddress::parse("127.0.0.1").value(), .port = port};
}

Relay::Inside right_here() {
  return [](const std::function<base::Result<>()>& work) { return work(); };
}

UniqueFd connect_to(std::uint16_t port) {
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const base::SocketAddress address(loopback(port));
  if (::connect(fd.get(), address.get(), address.size()) < 0) fd.reset();
  return fd;
}

// Listens on a port of the kernel's choice.
struct Server {
  UniqueFd fd{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  std::uint16_t port = 0;

  Server() {
    base::SocketAddress address(loopback(0));
    if (::bind(fd.get(), address.get(), address.size()) < 0 || ::listen(fd.get(), 8) < 0 ||
        ::getsockname(fd.get(), address.get(), address.capacity()) < 0) {
      throw std::runtime_error("no server");
    }
    port = address.endpoint().value().port;
  }
};

std::string read_to_end(int fd) {
  std::string text;
  char chunk[65536];
  for (ssize_t count = 0; (count = ::read(fd, chunk, sizeof(chunk))) > 0;) {
    text.append(chunk, static_cast<std::size_t>(count));
  }
  return text;
}

TEST(Relay, CarriesBytesBothWaysAndAnswersAfterAHalfClose) {
  Server server;
  const auto relay = Relay::start(loopback(server.port), right_here()).value();
  const std::string question(1 << 20, 'q');
  std::thread answering([&] {
    const UniqueFd peer(::accept4(server.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    const auto asked = read_to_end(peer.get());
    EXPECT_EQ(asked, question);
    EXPECT_EQ(::write(peer.get(), "answer", 6), 6);
  });
  const UniqueFd client = connect_to(relay->port());
  ASSERT_TRUE(client);
  for (std::size_t sent = 0; sent < question.size();) {
    const ssize_t count = ::write(client.get(), question.data() + sent, question.size() - sent);
    ASSERT_GT(count, 0);
    sent += static_cast<std::size_t>(count);
  }
  ASSERT_EQ(::shutdown(client.get(), SHUT_WR), 0);
  EXPECT_EQ(read_to_end(client.get()), "answer");
  answering.join();
}

TEST(Relay, ClosesAConnectionWhoseServerIsNotThere) {
  std::uint16_t nobody = 0;
  {
    nobody = Server().port;
  }
  const auto relay = Relay::start(loopback(nobody), right_here()).value();
  const UniqueFd client = connect_to(relay->port());
  ASSERT_TRUE(client);
  EXPECT_EQ(read_to_end(client.get()), "");
}

TEST(Relay, EndsWithOpenConnections) {
  Server server;
  auto relay = Relay::start(loopback(server.port), right_here()).value();
  const UniqueFd client = connect_to(relay->port());
  ASSERT_TRUE(client);
  const UniqueFd peer(::accept4(server.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
  relay.reset();
  EXPECT_EQ(read_to_end(client.get()), "");
  EXPECT_EQ(read_to_end(peer.get()), "");
}

}  // namespace
}  // namespace cluster::processes
