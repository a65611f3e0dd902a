// Where an agent in a container is reached, and the bridge to it.
#include "bench/agent/listener.h"

#include <array>
#include <fstream>
#include <future>
#include <thread>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "bench/agent/bridge.h"
#include "bench/agent/testing/socket_folder.h"

namespace bench::testing {
namespace {

using base::ErrorKind;
using base::UniqueFd;
using std::chrono::seconds;
using ::testing::HasSubstr;

base::MonotonicTime soon() { return base::monotonic_now() + seconds(10); }

class ListenerTest : public ::testing::Test {
 protected:
  void put_file(const std::string& path) { std::ofstream(path) << "not yours"; }
  SocketFolder folder_;
};

TEST_F(ListenerTest, IsThereForItsOwnerAlone) {
  const auto listener = Listener::open(folder_.socket());
  ASSERT_TRUE(listener) << listener.error().message;
  struct stat status{};
  ASSERT_EQ(::stat(folder_.socket().c_str(), &status), 0);
  EXPECT_TRUE(S_ISSOCK(status.st_mode));
  EXPECT_EQ(status.st_mode & 0777, 0600U);
  const auto nobody = listener->accept();
  ASSERT_TRUE(nobody) << nobody.error().message;
  EXPECT_FALSE(*nobody);
  const auto connection = connect_to_agent(folder_.socket(), soon());
  ASSERT_TRUE(connection) << connection.error().message;
  EXPECT_TRUE(listener->accept().value());
}

TEST_F(ListenerTest, TakesItsNameAwayUnlessItIsAnothersByNow) {
  {
    const auto listener = Listener::open(folder_.socket());
    ASSERT_TRUE(listener);
  }
  EXPECT_NE(::access(folder_.socket().c_str(), F_OK), 0);
  {
    const auto listener = Listener::open(folder_.socket());
    ASSERT_TRUE(listener);
    put_file(folder_.socket() + ".other");
    ASSERT_EQ(::rename((folder_.socket() + ".other").c_str(), folder_.socket().c_str()), 0);
  }
  EXPECT_EQ(::access(folder_.socket().c_str(), F_OK), 0);
}

TEST_F(ListenerTest, ReplacesASocketThatNobodyListensOnAndNoOther) {
  {
    // Bound and never unlinked: what an agent that was killed leaves.
    const UniqueFd stale(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    folder_.socket().copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(::bind(stale.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  }
  const auto listener = Listener::open(folder_.socket());
  ASSERT_TRUE(listener) << listener.error().message;
  const auto second = Listener::open(folder_.socket());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::input);
  EXPECT_THAT(second.error().message, HasSubstr("another agent listens there"));
  // The one that asked was no harm to the one that was there.
  EXPECT_TRUE(connect_to_agent(folder_.socket(), soon()));

  const std::string file = folder_.path() + "/file";
  put_file(file);
  const auto refused = Listener::open(file);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("is no socket"));
}

TEST_F(ListenerTest, SaysWhatIsWrongWithAPlace) {
  const auto nowhere = Listener::open(folder_.path() + "/no/agent.sock");
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().kind, ErrorKind::missing);
  EXPECT_THAT(nowhere.error().message, HasSubstr("/no: no such directory"));
  EXPECT_THAT(nowhere.error().mend, HasSubstr("emptyDir"));
  const auto long_path = Listener::open(folder_.path() + "/" + std::string(120, 'x'));
  ASSERT_FALSE(long_path);
  EXPECT_EQ(long_path.error().kind, ErrorKind::input);
  EXPECT_EQ(connect_to_agent(folder_.path() + "/no/agent.sock", soon()).error().kind,
            ErrorKind::missing);
}

TEST_F(ListenerTest, IsAwaitedWithinBounds) {
  const auto nobody =
      connect_to_agent(folder_.socket(), base::monotonic_now() + std::chrono::milliseconds(20));
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().kind, ErrorKind::timed_out);
  EXPECT_THAT(nobody.error().message, HasSubstr("no agent listens there"));

  auto waiting =
      std::async(std::launch::async, [&] { return connect_to_agent(folder_.socket(), soon()); });
  const auto listener = Listener::open(folder_.socket());
  ASSERT_TRUE(listener) << listener.error().message;
  const auto connected = waiting.get();
  EXPECT_TRUE(connected) << connected.error().message;
}

// A bridge with all four of its ends in the test's hands.
struct Bridge {
  Bridge() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    in.reset(ends[0]);
    to_in.reset(ends[1]);
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    from_out.reset(ends[0]);
    out.reset(ends[1]);
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    agent.reset(ends[1]);
    ended = std::async(std::launch::async, [this, connection = UniqueFd(ends[0])]() mutable {
      return bridge(in.get(), out.get(), std::move(connection));
    });
  }

  UniqueFd in, to_in, from_out, out, agent;
  std::future<base::Result<bool>> ended;
};

std::string read_all(int fd) {
  std::string all;
  std::array<char, 65536> chunk;
  ssize_t count = 0;
  while ((count = ::read(fd, chunk.data(), chunk.size())) > 0) {
    all.append(chunk.data(), static_cast<std::size_t>(count));
  }
  return all;
}

TEST(Bridge, CarriesBothWaysAtOnceAndEndsWithItsInput) {
  Bridge it;
  // More than the pipes and the socket hold, each way, and read only after all of it was written.
  const std::string question(1'000'000, 'q');
  const std::string answer(1'000'000, 'a');
  std::jthread asker([&] {
    ASSERT_EQ(::write(it.to_in.get(), question.data(), question.size()), 1'000'000);
    it.to_in.reset();
  });
  std::jthread answerer(
      [&] { ASSERT_EQ(::send(it.agent.get(), answer.data(), answer.size(), 0), 1'000'000); });
  std::string answered;
  while (answered.size() < answer.size()) {
    std::array<char, 4096> chunk;
    const ssize_t count = ::read(it.from_out.get(), chunk.data(), chunk.size());
    ASSERT_GT(count, 0);
    answered.append(chunk.data(), static_cast<std::size_t>(count));
  }
  EXPECT_EQ(answered, answer);
  EXPECT_EQ(read_all(it.agent.get()), question);
  EXPECT_EQ(it.ended.get().value(), true);
}

TEST(Bridge, DeliversTheAgentsLastWordsAndEndsWithIt) {
  Bridge it;
  ASSERT_EQ(::send(it.agent.get(), "the end\n", 8, 0), 8);
  it.agent.reset();
  EXPECT_EQ(it.ended.get().value(), false);
  it.out.reset();
  EXPECT_EQ(read_all(it.from_out.get()), "the end\n");
}

TEST(Bridge, EndsWhenNobodyReadsItsOutput) {
  Bridge it;
  it.from_out.reset();
  ASSERT_EQ(::send(it.agent.get(), "anybody?\n", 9, 0), 9);
  const auto ended = it.ended.get();
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().kind, ErrorKind::peer_lost);
}

}  // namespace
}  // namespace bench::testing
