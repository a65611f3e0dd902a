// Against what is no gobgpd; a real one is in daemon_test.cc.
#include "bgp-peer/client.h"

#include <filesystem>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "bgp-peer/fake_gobgpd.h"
#include "bgp-peer/messages.h"
#include "bgp-peer/testing.h"

namespace bgp_peer {
namespace {

using base::ErrorKind;
using base::testing::eventually;
using bgp_peer::testing::FakeGobgpd;
using bgp_peer::testing::must;
using bgp_peer::testing::session_message;
using bgp_peer::testing::socket_path;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(ApiAddress, HasTheFormsPeopleWrite) {
  const std::vector<std::pair<std::string_view, std::string_view>> forms{
      {"10.0.0.1", "10.0.0.1:50051"},           {"10.0.0.1:179", "10.0.0.1:179"},
      {"fd00::1", "[fd00::1]:50051"},           {"[fd00::1]:7", "[fd00::1]:7"},
      {"router", "dns:router:50051"},           {"router.example:7", "dns:router.example:7"},
      {"unix:/run/x.sock", "unix:/run/x.sock"}, {"unix:///run/x.sock", "unix:/run/x.sock"}};
  for (const auto& [written, taken] : forms) EXPECT_EQ(api_address(written).value(), taken);
}

TEST(ApiAddress, RefusesWhatIsNone) {
  for (const auto* text : {"", ":", ":50051", "unix:", "router:", "router:x", "router:70000",
                           "http://router:50051", "a b"}) {
    const auto address = api_address(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().kind, ErrorKind::input);
    EXPECT_THAT(address.error().message, HasSubstr(fmt::format("got \"{}\"", text)));
    EXPECT_NE(address.error().mend, "");
  }
}

TEST(Client, SaysThatNobodyListens) {
  const auto client = Client::connect("unix:" + socket_path("nobody"));
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, ErrorKind::missing);
  EXPECT_THAT(client.error().message, HasSubstr("no gobgpd answers"));
  EXPECT_THAT(client.error().mend, HasSubstr("--api-hosts"));
}

// Who takes connections and never says a word.
TEST(Client, SaysThatNobodyAnsweredInTime) {
  const auto path = socket_path("silent");
  const base::UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(listener.get(), 8), 0);
  const auto client = Client::connect("unix:" + path, std::chrono::milliseconds(100));
  std::filesystem::remove(path);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, ErrorKind::timed_out) << client.error().message;
}

TEST(Client, SaysWhichVersionIsNeeded) {
  const bgp_peer::testing::OtherServer server("other");
  const auto client = Client::connect(server.address());
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, ErrorKind::missing) << client.error().message;
  EXPECT_THAT(client.error().message, HasSubstr("has not the API of GoBGP 3"));
  EXPECT_THAT(client.error().mend, HasSubstr("run a gobgpd of version 3"));
}

// Events in the order in which the handler got them.
class Taken {
 public:
  void add(Event event) {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  [[nodiscard]] std::vector<Event> all() const {
    const std::lock_guard lock(mutex_);
    return events_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Event> events_;
};

TEST(Client, StopsWaitingWhenItIsInterrupted) {
  FakeGobgpd daemon("interrupted");
  daemon.silent = true;
  const base::UniqueFd interrupt(::eventfd(0, EFD_CLOEXEC));
  std::thread user([&] {
    EXPECT_TRUE(eventually([&] { return daemon.asked > 0; }));
    ::eventfd_write(interrupt.get(), 1);
  });
  const auto begun = base::monotonic_now();
  const auto client = Client::connect(daemon.address(), std::chrono::seconds(30), interrupt.get());
  user.join();
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().kind, ErrorKind::interrupted) << client.error().message;
  EXPECT_LT(base::monotonic_now() - begun, std::chrono::seconds(10));
}

// What a handler does is not in the times of what comes after it.
TEST(Watch, StampsWhatComesWhileTheHandlerIsBusy) {
  constexpr std::size_t messages = 100;
  // More than the transport keeps for somebody who does not read.
  FakeGobgpd daemon("stamps", [](auto& writer) {
    for (std::size_t i = 0; i < messages; ++i) {
      writer.Write(session_message("10.0.0.1", i % 2 == 0, 64 << 10));
    }
  });
  const auto client = must(Client::connect(daemon.address()));
  Taken taken;
  std::atomic<std::int64_t> released = 0;
  const auto watch = must(client.watch({}, [&](Event event) {
    if (event.kind == Event::Kind::peer && released == 0) {
      EXPECT_TRUE(eventually([&] { return daemon.told_all.load(); })) << "nobody received";
      released = base::monotonic_now().ns;
    }
    taken.add(std::move(event));
  }));
  ASSERT_TRUE(eventually([&] { return taken.all().size() > messages; }));
  EXPECT_LT(taken.all().at(messages / 2).received.ns, released.load());
}

TEST(Watch, EndsWhenItsHandlerFallsTooFarBehind) {
  FakeGobgpd daemon("behind", [](auto& writer) {
    for (int i = 0; i < 50; ++i) writer.Write(session_message("10.0.0.1", i % 2 == 0));
  });
  const auto client = must(Client::connect(daemon.address()));
  Taken taken;
  const auto watch = must(client.watch({.most_waiting = 10}, [&](Event event) {
    if (taken.all().empty()) {
      EXPECT_TRUE(eventually([&] { return daemon.watch_ended.load(); })) << "it goes on for ever";
    }
    taken.add(std::move(event));
  }));
  ASSERT_TRUE(eventually([&] {
    const auto all = taken.all();
    return !all.empty() && all.back().kind == Event::Kind::ended;
  }));
  const auto all = taken.all();
  EXPECT_LE(all.size(), 12U);
  EXPECT_EQ(all.back().error.kind, ErrorKind::system);
  EXPECT_THAT(all.back().error.message, HasSubstr("more than 10 sessions and routes wait"));
}

TEST(Watch, TellsNothingOnceItIsDestroyed) {
  FakeGobgpd daemon("destroyed");
  const auto client = must(Client::connect(daemon.address()));
  Taken taken;
  {
    const auto watch = must(client.watch({.peers = false}, [&](Event event) { taken.add(event); }));
  }
  EXPECT_THAT(taken.all(), IsEmpty());
}

// Only then is what changes told as a change.
TEST(Watch, HasBegunWhenItIsReturned) {
  FakeGobgpd daemon("begun");
  daemon.begins = false;
  const auto client = must(Client::connect(daemon.address(), std::chrono::milliseconds(200)));
  const auto watch = client.watch({}, [](const Event&) {});
  ASSERT_FALSE(watch);
  EXPECT_EQ(watch.error().kind, ErrorKind::timed_out);
  const auto nothing = client.watch({.peers = false, .paths = false}, [](const Event&) {});
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().kind, ErrorKind::input);
}

TEST(Watch, OfADaemonWithoutBgpBeginsWithNoPaths) {
  for (const bool started : {true, false}) {
    FakeGobgpd daemon("paths", [](auto& writer) {
      apipb::WatchEventResponse message;
      *message.mutable_table()->add_paths() =
          to_message(Path{.prefix = Prefix::parse("10.0.0.1/32").value(),
                          .next_hop = base::IpAddress::parse("10.0.0.9").value()});
      writer.Write(message);
    });
    daemon.started = started;
    const auto client = must(Client::connect(daemon.address()));
    Taken taken;
    const auto watch = must(client.watch({.peers = false}, [&](Event event) { taken.add(event); }));
    ASSERT_TRUE(eventually([&] { return !taken.all().empty(); }));
    EXPECT_EQ(taken.all().front().initial, started);
  }
}

TEST(EventQueue, EndsWhenNobodyTakesWhatWaits) {
  const auto queue = must(EventQueue::make(2));
  for (int i = 0; i < 5; ++i) queue.handler()({.kind = Event::Kind::peer});
  const auto taken = queue.take();
  ASSERT_THAT(taken, SizeIs(3));
  EXPECT_EQ(taken.back().kind, Event::Kind::ended);
  EXPECT_THAT(taken.back().error.message, HasSubstr("more than 2 "));
  EXPECT_THAT(queue.take(), IsEmpty());
}

}  // namespace
}  // namespace bgp_peer
