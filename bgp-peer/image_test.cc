// What the container of images/bgp-peer runs, without an engine: its program, its arguments, its
// user and the configuration that `stackbench bgp config` prints, in a namespace of its own. Needs
// root and the gobgpd that ./bootstrap test unpacks, as the image does.
#include <filesystem>
#include <fstream>
#include <regex>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/testing/lab.h"
#include "bgp-peer/daemon.h"
#include "bgp-peer/testing.h"

namespace bgp_peer {
namespace {

using base::testing::eventually;
using bgp_peer::testing::address;
using bgp_peer::testing::must;
using bgp_peer::testing::prefix;
using ::testing::HasSubstr;

constexpr std::string_view peer_address = "10.244.77.2";
constexpr std::string_view node_address = "10.244.77.1";

// What follows a word at the beginning of a line of the Dockerfile.
std::string after(const std::string& dockerfile, const std::string& word) {
  std::smatch found;
  const std::regex line("(^|\n)" + word + " ([^\n]*)");
  return std::regex_search(dockerfile, found, line) ? found[2].str() : "";
}

// Its user has no rights, but that port 179 is open to everybody in a container.
base::Process start_container(const base::testing::TestPair& pair,
                              const std::vector<std::string>& argv, const std::string& log) {
  pair.pod.inside([] { std::ofstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") << 0; });
  const base::UniqueFd output(::open(log.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  const int netns = pair.pod.fd();
  return must(base::Process::spawn({.argv = argv,
                                    .out = base::Stdio::descriptor(output.get()),
                                    .err = base::Stdio::descriptor(output.get()),
                                    .before_exec = [netns]() -> base::Result<> {
                                      constexpr int user = 65532;
                                      if (::setns(netns, CLONE_NEWNET) < 0 ||
                                          ::setgroups(0, nullptr) < 0 || ::setgid(user) < 0 ||
                                          ::setuid(user) < 0) {
                                        return base::system_error(errno, "as a container's user");
                                      }
                                      return {};
                                    }}));
}

// Whether `bgp watch` beside the peer tells of these words.
bool is_told(const base::testing::TestPair& pair, std::string_view words) {
  auto watch =
      must(in_netns(pair.host.fd())({.argv = {STACKBENCH_BINARY_DIR "/stackbench", "bgp", "watch",
                                              "--json", std::string(peer_address)},
                                     .out = base::Stdio::pipe()}));
  std::string said;
  const auto give_up = base::monotonic_now() + std::chrono::seconds(10);
  while (said.find(words) == std::string::npos && base::monotonic_now() < give_up) {
    pollfd told{.fd = watch.out.get(), .events = POLLIN, .revents = 0};
    std::array<char, 4096> bytes{};
    if (::poll(&told, 1, 100) != 1) continue;
    const auto size = ::read(watch.out.get(), bytes.data(), bytes.size());
    if (size <= 0) break;
    said.append(bytes.data(), static_cast<std::size_t>(size));
  }
  EXPECT_THAT(said, HasSubstr(words));
  return said.find(words) != std::string::npos;
}

TEST(BgpPeerImage, WhatItRunsTakesSessionsAndAnswersItsApi) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  const auto dockerfile =
      must(base::read_file(STACKBENCH_SOURCE_DIR "/images/bgp-peer/Dockerfile"));
  EXPECT_EQ(after(dockerfile, "USER"), "65532:65532");
  EXPECT_EQ(after(dockerfile, "EXPOSE"), "179 50051");
  auto argv =
      must(base::parse_json(after(dockerfile, "ENTRYPOINT"))).get<std::vector<std::string>>();
  ASSERT_EQ(argv, std::vector<std::string>{"/usr/bin/gobgpd"});
  // Where its user finds it: our own directory may be closed to it.
  const auto directory = fmt::format("{}/bgp-image-{}", ::testing::TempDir(), ::getpid());
  std::filesystem::create_directories(directory + "/node");
  argv[0] = directory + "/gobgpd";
  std::filesystem::copy_file(must(find_gobgpd()), argv[0]);
  std::smatch pinned;
  ASSERT_TRUE(std::regex_search(dockerfile, pinned, std::regex(R"(gobgpd=(\d+\.\d+\.\d+)-\*)")));
  EXPECT_THAT(must(base::run_for_output({argv[0], "--version"})), HasSubstr(pinned[1].str()))
      << "the version that all of this was written for";
  const auto config = must(base::run_for_output(
      {STACKBENCH_BINARY_DIR "/stackbench", "bgp", "config", "--asn", "64513", "--router-id",
       std::string(peer_address), "--from", "10.244.77.0/24", "--node-asn", "64512"}));
  std::ofstream(directory + "/gobgpd.json") << config;
  for (const auto& word : must(base::parse_json(after(dockerfile, "CMD")))) {
    argv.push_back(word == "/etc/gobgpd.json" ? directory + "/gobgpd.json"
                                              : word.get<std::string>());
  }
  const auto pair = must(base::testing::TestPair::make());
  const auto container = start_container(pair, argv, directory + "/gobgpd.log");

  const auto node = must(Daemon::start(
      {.global = {.asn = {64512}, .router_id = address(node_address), .port = -1},
       .neighbors = {{.address = address(peer_address), .session = {.peer_asn = {64513}}}}},
      {.directory = directory + "/node", .spawn = in_netns(pair.host.fd())}));
  must(node.client().add_path({.prefix = prefix("10.201.0.7/32"),
                               .next_hop = address(node_address),
                               .origin = Origin::igp}));
  EXPECT_TRUE(eventually(
      [&] {
        const auto peers = node.client().peers();
        return peers && peers->front().state == SessionState::established;
      },
      std::chrono::seconds(20)))
      << base::read_file(directory + "/gobgpd.log").value_or("");
  EXPECT_TRUE(is_told(pair, "10.201.0.7/32"));
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace bgp_peer
