// `stackbench bgp watch` as people and pipes meet it, against a daemon that does what is wanted of
// it. Against a real one: daemon_test.cc.
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>

#include "base/process.h"
#include "bgp-peer/fake_gobgpd.h"
#include "bgp-peer/testing.h"

namespace bgp_peer {
namespace {

using base::testing::eventually;
using bgp_peer::testing::FakeGobgpd;
using bgp_peer::testing::must;
using bgp_peer::testing::session_message;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr auto at_once = std::chrono::seconds(2);  // well below the 5 s of a call

base::Process start_watch(const std::string& address, base::Stdio out,
                          std::vector<std::string> options = {}) {
  std::vector<std::string> argv{STACKBENCH_BINARY_DIR "/stackbench", "bgp", "watch", address};
  argv.insert(argv.end(), options.begin(), options.end());
  return must(base::Process::spawn({.argv = std::move(argv),
                                    .environment = {{"TERM=xterm", "LC_ALL=C.UTF-8"}},
                                    .out = out,
                                    .err = base::Stdio::pipe()}));
}

std::string rest_of(int fd) {
  std::string text;
  std::array<char, 4096> more{};
  for (;;) {
    const auto size = ::read(fd, more.data(), more.size());
    if (size <= 0) return text;
    text.append(more.data(), static_cast<std::size_t>(size));
  }
}

TEST(BgpWatch, EndsAtOnceThoughItsReaderReadsNothing) {
  FakeGobgpd daemon("unread", [](auto& writer) {
    for (int i = 0; i < 2000; ++i) writer.Write(session_message("10.0.0.1", i % 2 == 0));
  });
  auto watch = start_watch(daemon.address(), base::Stdio::pipe(), {"--json"});
  // What is in the pipe grows no more: it is full, and most has not been written.
  int before = 0;
  int looks = 0;
  EXPECT_TRUE(eventually([&] {
    int size = 0;
    if (::ioctl(watch.out.get(), FIONREAD, &size) != 0) return false;
    looks = size == before ? looks + 1 : 0;
    before = size;
    return size > 16'000 && looks >= 50;
  }));
  must(watch.signal(SIGINT));
  EXPECT_EQ(must(watch.wait(at_once)).code, 128 + SIGINT);
}

TEST(BgpWatch, EndsAtOnceThoughTheDaemonDoesNotAnswer) {
  FakeGobgpd daemon("frozen");
  daemon.silent = true;
  auto watch = start_watch(daemon.address(), base::Stdio::null());
  EXPECT_TRUE(eventually([&] { return daemon.asked > 0; }));
  must(watch.signal(SIGINT));
  EXPECT_EQ(must(watch.wait(at_once)).code, 128 + SIGINT);
}

// As `bgp watch | head -1`: nothing happens that would have it write.
TEST(BgpWatch, EndsWithItsReader) {
  FakeGobgpd daemon("closed");
  auto watch = start_watch(daemon.address(), base::Stdio::pipe());
  EXPECT_TRUE(eventually([&] { return daemon.told_all.load(); }));
  watch.out.reset();
  EXPECT_EQ(must(watch.wait(at_once)).code, 2);
  EXPECT_THAT(rest_of(watch.err.get()), HasSubstr("write to standard output: Broken pipe"));
}

TEST(BgpWatch, WritesWhatWasToldBeforeTheDaemonsEnd) {
  FakeGobgpd daemon("told", [](auto& writer) { writer.Write(session_message("10.0.0.1", true)); });
  auto watch = start_watch(daemon.address(), base::Stdio::pipe(), {"--json"});
  EXPECT_TRUE(eventually([&] { return daemon.told_all.load(); }));
  daemon.end();
  EXPECT_EQ(must(watch.wait(at_once)).code, 2);
  EXPECT_THAT(rest_of(watch.out.get()),
              AllOf(HasSubstr("\"neighbor\":\"10.0.0.1\""), HasSubstr("\"type\":\"ended\"")));
}

TEST(BgpWatch, SaysWhichGobgpItNeeds) {
  const bgp_peer::testing::OtherServer server("four");
  auto watch = start_watch(server.address(), base::Stdio::null());
  const auto ended = must(watch.wait(std::chrono::seconds(10)));
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(rest_of(watch.err.get()), HasSubstr("run a gobgpd of version 3"));
}

// The very case it is looked at for.
TEST(BgpWatch, StaysAtATerminalWhenTheDaemonFallsSilent) {
  FakeGobgpd daemon("silent",
                    [](auto& writer) { writer.Write(session_message("10.0.0.1", true)); });
  int master = -1;
  int slave = -1;
  winsize size{.ws_row = 24, .ws_col = 100, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::openpty(&master, &slave, nullptr, nullptr, &size), 0);
  const base::UniqueFd ours(master);
  base::UniqueFd theirs(slave);
  auto watch = start_watch(daemon.address(), base::Stdio::descriptor(theirs.get()));
  theirs.reset();
  std::string text;
  const auto shows = [&](std::string_view what) {
    return eventually([&] {
      pollfd ready{.fd = ours.get(), .events = POLLIN, .revents = 0};
      std::array<char, 4096> more{};
      if (::poll(&ready, 1, 0) == 1) {
        const auto read = ::read(ours.get(), more.data(), more.size());
        if (read > 0) text.append(more.data(), static_cast<std::size_t>(read));
      }
      return text.find(what) != std::string::npos;
    });
  };
  EXPECT_TRUE(shows("Sessions: 1")) << text;
  daemon.silent = true;
  EXPECT_TRUE(shows("no answer for")) << text;
  EXPECT_FALSE(watch.wait(std::chrono::seconds(0)));
  daemon.end();
  EXPECT_EQ(must(watch.wait(at_once)).code, 2);
  // The last table stays, below what was on the terminal before.
  (void)shows("\x1b[?1049l");
  const auto left = text.rfind("\x1b[?1049l");
  ASSERT_NE(left, std::string::npos);
  EXPECT_THAT(text.substr(left), AllOf(HasSubstr("gobgpd at"), HasSubstr("10.0.0.1")));
}

}  // namespace
}  // namespace bgp_peer
