#include "base/pod_network.h"

#include <filesystem>
#include <fstream>
#include <tuple>

#include <gtest/gtest.h>

#include "base/json.h"

namespace base {
namespace {

TEST(PodNetwork, IsReadFromProcAndSys) {
  std::string root = (std::filesystem::temp_directory_path() / "pod_network.XXXXXX").string();
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  const auto write = [&](const std::string& name, const std::string& text) {
    const auto file = std::filesystem::path(root) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  };
  write("proc/sys/net/ipv4/tcp_congestion_control", "cubic\n");
  for (const auto& [name, index, peer, mtu] :
       {std::tuple{"eth0", "12\n", "7\n", "1450\n"}, std::tuple{"lo", "1\n", "1\n", "65536\n"}}) {
    const auto directory = std::string("sys/class/net/") + name;
    write(directory + "/ifindex", index);
    write(directory + "/iflink", peer);
    write(directory + "/mtu", mtu);
  }
  write("sys/class/net/bonding_masters", "\n");
  const auto network = collect_pod_network(root);
  EXPECT_EQ(dump_json(to_json(network)),
            R"({"links":[{"name":"lo","index":1,"peer_index":1,"mtu":65536},)"
            R"({"name":"eth0","index":12,"peer_index":7,"mtu":1450}],)"
            R"("congestion_control":"cubic"})");
  ASSERT_NE(network.first_link(), nullptr);
  EXPECT_EQ(network.first_link()->name, "eth0");
  ASSERT_NE(network.link_at(1), nullptr);
  EXPECT_EQ(network.link_at(1)->name, "lo");
  EXPECT_EQ(network.link_at(2), nullptr);
  std::filesystem::remove_all(root);
}

TEST(PodNetwork, IsEmptyWhereNothingCanBeRead) {
  const auto network = collect_pod_network("/nowhere");
  EXPECT_TRUE(network.links.empty());
  EXPECT_EQ(network.first_link(), nullptr);
}

}  // namespace
}  // namespace base
