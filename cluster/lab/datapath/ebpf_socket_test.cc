// The hooks against real sockets.
#include <atomic>
#include <csignal>
#include <map>
#include <set>
#include <thread>

#include <bpf/bpf.h>
#include <fcntl.h>
#include <sys/wait.h>

#include "cluster/lab/datapath/testing/ebpf_socket_fixture.h"

namespace cluster {
namespace {

class EbpfSocketFamilies : public EbpfSocket, public ::testing::WithParamInterface<Family> {};

TEST_P(EbpfSocketFamilies, TcpConnectReachesABackendAndShowsTheService) {
  const auto& family = GetParam();
  sync(table_of(3));
  std::map<std::string, int> answers;
  for (int i = 0; i < 90; ++i) {
    const auto socket = dial(family.service, Transport::tcp, family.mapped);
    ASSERT_TRUE(socket) << base::describe_error(socket.error());
    EXPECT_EQ(base::testing::peer_of(socket->get()), family.service);
    const auto answer = base::testing::ask(socket->get());
    ASSERT_TRUE(answer) << base::describe_error(answer.error());
    ++answers[*answer];
  }
  // A choice at random leaves one of three out of 90 with a probability of 4e-16.
  EXPECT_EQ(answers.size(), 3U);
  EXPECT_TRUE(answers.contains("web-0") && answers.contains("web-1") && answers.contains("web-2"));
}

TEST_P(EbpfSocketFamilies, ConnectedUdpReachesABackendAndShowsTheService) {
  const auto& family = GetParam();
  sync(table_of(3));
  std::set<std::string> answers;
  for (int i = 0; i < 90; ++i) {
    const auto socket = dial(family.service, Transport::udp, family.mapped);
    ASSERT_TRUE(socket) << base::describe_error(socket.error());
    EXPECT_EQ(base::testing::peer_of(socket->get()), family.service);
    ASSERT_EQ(::send(socket->get(), "?", 1, 0), 1);
    const auto answer = base::testing::receive_from(socket->get());
    ASSERT_TRUE(answer) << base::describe_error(answer.error());
    EXPECT_EQ(answer->from, family.service);
    answers.insert(answer->text);
  }
  EXPECT_EQ(answers.size(), 3U);
}

TEST_P(EbpfSocketFamilies, UnconnectedUdpStaysWithItsBackendAsLongAsTheServiceHasIt) {
  const auto& family = GetParam();
  sync(table_of(2));
  const auto socket = netns_->inside(
      [&] { return base::testing::open_socket(family.service, Transport::udp, family.mapped); });
  ASSERT_TRUE(socket) << base::describe_error(socket.error());
  const auto ask = [&] {
    const auto answer = base::testing::ask_at(socket->get(), family.service, family.mapped);
    EXPECT_TRUE(answer) << base::describe_error(answer.error());
    if (!answer) return std::string();
    EXPECT_EQ(answer->from, family.service);
    return answer->text;
  };
  const auto first = ask();
  for (int i = 0; i < 40; ++i) EXPECT_EQ(ask(), first);

  sync(table_of(3));
  for (int i = 0; i < 40; ++i) EXPECT_EQ(ask(), first) << "a backend more must not move a flow";

  auto without = table_of(3);
  for (auto& entry : without.entries) {
    std::erase_if(entry.backends, [&](const Backend& backend) { return backend.pod == first; });
  }
  sync(without);
  const auto second = ask();
  EXPECT_NE(second, first);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(ask(), second);

  // A Service that went and came back vouches for nothing of its former life.
  sync({});
  sync(table_of(3));
  for (int i = 0; i < 40; ++i) EXPECT_EQ(ask(), second);
  sync({});
  auto only_first = table_of(3);
  for (auto& entry : only_first.entries) {
    std::erase_if(entry.backends, [&](const Backend& backend) { return backend.pod != first; });
  }
  sync(only_first);
  EXPECT_EQ(ask(), first);
}

TEST_P(EbpfSocketFamilies, TwoUdpSocketsOfOneProcessKeepTheirOwnBackends) {
  const auto& family = GetParam();
  sync(table_of(3));
  std::set<std::string> answers;
  for (int i = 0; i < 90; ++i) {
    const auto socket = netns_->inside(
        [&] { return base::testing::open_socket(family.service, Transport::udp, family.mapped); });
    ASSERT_TRUE(socket) << base::describe_error(socket.error());
    const auto answer = base::testing::ask_at(socket->get(), family.service, family.mapped);
    ASSERT_TRUE(answer) << base::describe_error(answer.error());
    answers.insert(answer->text);
  }
  EXPECT_EQ(answers.size(), 3U);
}

TEST_P(EbpfSocketFamilies, APodDialledDirectlyShowsItself) {
  const auto& family = GetParam();
  sync(table_of(3));
  for (const auto transport : {Transport::tcp, Transport::udp}) {
    const auto socket = dial(family.backends[1], transport, family.mapped);
    ASSERT_TRUE(socket) << base::describe_error(socket.error());
    EXPECT_EQ(base::testing::peer_of(socket->get()), family.backends[1]);
    EXPECT_EQ(base::testing::ask(socket->get()).value_or("no answer"), "web-1");
  }
}

TEST_P(EbpfSocketFamilies, AServiceWithoutBackendsRefusesAndOneThatIsGoneIsNotTranslated) {
  const auto& family = GetParam();
  sync(table_of(0));
  for (const auto transport : {Transport::tcp, Transport::udp}) {
    const auto socket = dial(family.service, transport, family.mapped);
    ASSERT_FALSE(socket);
    EXPECT_EQ(socket.error().code, ECONNREFUSED) << socket.error().message;
  }
  const auto datagrams = netns_->inside(
      [&] { return base::testing::open_socket(family.service, Transport::udp, family.mapped); });
  ASSERT_TRUE(datagrams);
  const auto sent = base::testing::send_to(datagrams->get(), family.service, "?", family.mapped);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ECONNREFUSED);

  sync({});
  const auto gone = dial(family.service, Transport::tcp, family.mapped);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ENETUNREACH) << gone.error().message;
}

TEST_P(EbpfSocketFamilies, AnOpenConnectionKeepsTheServiceAddressWhenItsServiceGoes) {
  const auto& family = GetParam();
  sync(table_of(3));
  const auto socket = dial(family.service, Transport::tcp, family.mapped);
  ASSERT_TRUE(socket) << base::describe_error(socket.error());
  sync({});
  EXPECT_EQ(base::testing::peer_of(socket->get()), family.service);
  EXPECT_TRUE(base::testing::ask(socket->get()).value_or("").starts_with("web-"));
}

INSTANTIATE_TEST_SUITE_P(Each, EbpfSocketFamilies, ::testing::Values(ipv4, ipv6, mapped),
                         [](const auto& parameter) { return parameter.param.name; });

// A second Service at 10.96.0.20 with one backend of its own, web-2, beside the first with web-0
// and web-1.
ServiceTable two_services() {
  auto first = entry_of(ipv4, Protocol::UDP, 2);
  auto second = entry_of(ipv4, Protocol::UDP, 0);
  second.service = "other";
  second.cluster = at("10.96.0.20:8001");
  second.backends = {{.endpoint = backends4[2], .pod = "web-2"}};
  return {.entries = {first, second}};
}

TEST_F(EbpfSocket, OneUnconnectedSocketKeepsTwoServicesApart) {
  sync(two_services());
  const auto socket =
      netns_->inside([&] { return base::testing::open_socket(ipv4.service, Transport::udp); });
  ASSERT_TRUE(socket);
  std::set<std::string> of_first;
  for (int i = 0; i < 30; ++i) {
    const auto first = base::testing::ask_at(socket->get(), ipv4.service);
    const auto second = base::testing::ask_at(socket->get(), at("10.96.0.20:8001"));
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->from, ipv4.service);
    EXPECT_EQ(second->from, at("10.96.0.20:8001"));
    of_first.insert(first->text);
    EXPECT_EQ(second->text, "web-2");
  }
  EXPECT_EQ(of_first.size(), 1U);
}

TEST_F(EbpfSocket, AReplyAfterTheBackendChangedStillShowsTheService) {
  sync(table_of(3));
  const auto socket =
      netns_->inside([&] { return base::testing::open_socket(ipv4.service, Transport::udp); });
  ASSERT_TRUE(socket);
  ASSERT_TRUE(base::testing::send_to(socket->get(), ipv4.service, "?"));
  ASSERT_TRUE(base::testing::eventually([&] {
    char byte = 0;
    return ::recv(socket->get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
  }));
  // The reply waits in the socket's buffer. Its backend goes, and a datagram goes to another one.
  std::string first;
  for (std::size_t i = 0; i < 3 && first.empty(); ++i) {
    auto without = table_of(3);
    for (auto& entry : without.entries)
      entry.backends.erase(entry.backends.begin() + static_cast<std::ptrdiff_t>(i));
    sync(without);
    ASSERT_TRUE(base::testing::send_to(socket->get(), ipv4.service, "?"));
    const auto reply = base::testing::receive_from(socket->get());
    ASSERT_TRUE(reply) << base::describe_error(reply.error());
    EXPECT_EQ(reply->from, ipv4.service) << reply->text;
    if (reply->text == fmt::format("web-{}", i)) first = reply->text;
  }
  EXPECT_NE(first, "");
}

// Every newer socket that dials a Service may take the slot of an older one over; a choice that
// must hold survives that, and a change of the table after it.
TEST_F(EbpfSocket, AStickyChoiceOutlivesItsSlot) {
  sync(table_of(3));
  std::vector<base::UniqueFd> sockets;
  std::vector<std::string> first;
  const auto ask = [&](const base::UniqueFd& socket) {
    const auto answer = base::testing::ask_at(socket.get(), ipv4.service);
    EXPECT_TRUE(answer) << base::describe_error(answer.error());
    if (!answer) return std::string();
    EXPECT_EQ(answer->from, ipv4.service);
    return answer->text;
  };
  for (int i = 0; i < 12; ++i) {
    auto socket =
        netns_->inside([&] { return base::testing::open_socket(ipv4.service, Transport::udp); });
    ASSERT_TRUE(socket);
    sockets.push_back(std::move(*socket));
    first.push_back(ask(sockets.back()));
  }
  netns_->inside([&] {
    // Cookies come in batches of 4,096 to each CPU, so this passes every slot on any one CPU.
    for (int i = 0; i < 2 * SOCKETS_REMEMBERED + 3 * 4096; ++i) {
      EXPECT_TRUE(base::testing::dial(ipv4.service, Transport::udp));
    }
    return 0;
  });
  auto changed = table_of(3);
  changed.entries.push_back(two_services().entries.back());
  sync(changed);
  for (int round = 0; round < 3; ++round) {
    for (std::size_t i = 0; i < sockets.size(); ++i) EXPECT_EQ(ask(sockets[i]), first[i]);
  }
}

// The port alone, or the protocol alone, makes no Service.
TEST_F(EbpfSocket, OnlyTheExactAddressPortAndProtocolAreTranslated) {
  ServiceTable table;
  table.entries.push_back(entry_of(ipv4, Protocol::TCP, 3));
  sync(table);
  EXPECT_TRUE(answer_of(ipv4.service).starts_with("web-"));
  for (const auto& [peer, transport] : {std::pair(at("10.96.0.10:8002"), Transport::tcp),
                                        std::pair(at("10.96.0.11:8001"), Transport::tcp),
                                        std::pair(ipv4.service, Transport::udp)}) {
    const auto socket = dial(peer, transport);
    ASSERT_FALSE(socket) << peer.to_string();
    EXPECT_EQ(socket.error().code, ENETUNREACH) << socket.error().message;
  }
}

TEST_F(EbpfSocket, SocketsOfOtherCgroupsAreLeftAlone) {
  sync(table_of(3));
  EXPECT_TRUE(answer_of(ipv4.service).starts_with("web-"));
  ASSERT_TRUE(cgroup_->leave());
  const auto outside = dial(ipv4.service, Transport::tcp);
  ASSERT_FALSE(outside);
  EXPECT_EQ(outside.error().code, ENETUNREACH);
}

TEST_F(EbpfSocket, NoServiceIsMissingForAMomentWhileTablesAreSwapped) {
  sync(table_of(3));
  std::atomic<bool> stop = false;
  std::atomic<int> connects = 0;
  std::set<std::string> failures;
  std::thread dialler([&] {
    netns_->inside([&] {
      while (!stop.load()) {
        const auto socket = base::testing::dial(ipv4.service, Transport::udp);
        if (!socket) failures.insert(socket.error().message);
        connects.fetch_add(1);
      }
      return 0;
    });
  });
  int swaps = 0;
  const bool enough = base::testing::eventually(
      [&] {
        sync(table_of(static_cast<std::size_t>(1 + swaps++ % 3)));
        return swaps >= 60 && connects.load() > 2000;
      },
      std::chrono::seconds(20));
  stop.store(true);
  dialler.join();
  EXPECT_TRUE(enough) << connects.load() << " connects, " << swaps << " swaps";
  EXPECT_EQ(failures, std::set<std::string>{});
}

TEST_F(EbpfSocket, TenThousandServicesAreSwappedInWhole) {
  auto table = table_of(3);
  for (std::uint32_t i = 0; i < 10'000; ++i) {
    auto entry = entry_of(ipv4, Protocol::TCP, 3);
    entry.cluster.address.bytes = {10, 97, static_cast<std::uint8_t>(i >> 8),
                                   static_cast<std::uint8_t>(i & 0xff)};
    table.entries.push_back(std::move(entry));
  }
  sync(table);
  EXPECT_TRUE(answer_of(ipv4.service).starts_with("web-"));
  EXPECT_TRUE(answer_of(at("10.97.39.15:8001")).starts_with("web-"));  // the last: 9,999
  EXPECT_EQ(datapath_->facts().at("service_ports"), 10'004);
}

ServiceTable sticky_table(std::size_t backends, std::chrono::seconds affinity) {
  auto table = table_of(backends);
  for (auto& entry : table.entries) entry.affinity = affinity;
  return table;
}

TEST_F(EbpfSocket, UnderAffinityAClientStaysAsLongAsItsBackendIsThere) {
  sync(sticky_table(3, std::chrono::hours(3)));
  const auto first = answer_of(ipv4.service);
  ASSERT_TRUE(first.starts_with("web-")) << first;
  for (int i = 0; i < 40; ++i) EXPECT_EQ(answer_of(ipv4.service), first);

  // In another table it is the same Service, and the client stays.
  auto more = sticky_table(3, std::chrono::hours(3));
  more.entries.push_back(entry_of(ipv4, Protocol::TCP, 1));
  more.entries.back().service = "other";
  more.entries.back().cluster = at("10.96.0.30:8001");
  sync(more);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(answer_of(ipv4.service), first);

  // Without its backend it finds another, and stays there though the first comes back.
  auto without = sticky_table(3, std::chrono::hours(3));
  for (auto& entry : without.entries) {
    std::erase_if(entry.backends, [&](const Backend& backend) { return backend.pod == first; });
  }
  sync(without);
  const auto second = answer_of(ipv4.service);
  EXPECT_NE(second, first);
  EXPECT_TRUE(second.starts_with("web-")) << second;
  sync(sticky_table(3, std::chrono::hours(3)));
  for (int i = 0; i < 40; ++i) EXPECT_EQ(answer_of(ipv4.service), second);
}

TEST_F(EbpfSocket, AfterTheTimeoutOfItsAffinityAClientIsDrawnAnew) {
  sync(sticky_table(3, std::chrono::seconds(1)));
  const auto first = answer_of(ipv4.service);
  std::set<std::string> seen{first};
  // Each time one of three: the same one 20 times in a row is one case in three billion.
  for (int i = 0; i < 20 && seen.size() < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1'050));
    seen.insert(answer_of(ipv4.service));
  }
  EXPECT_EQ(seen.size(), 2U);
}

TEST_F(EbpfSocket, TablesThatCannotBeMeantAreRefusedAndTheOldOneHolds) {
  sync(table_of(3));
  auto twice = table_of(3);
  twice.entries.push_back(twice.entries.front());
  const auto doubled = datapath_->sync(twice);
  ASSERT_FALSE(doubled);
  EXPECT_EQ(doubled.error().kind, base::ErrorKind::input);
  EXPECT_NE(doubled.error().message.find("10.96.0.10:8001/TCP"), std::string::npos);

  auto crossed = table_of(3);
  crossed.entries.front().backends.front().endpoint = backends6[0];
  const auto other_family = datapath_->sync(crossed);
  ASSERT_FALSE(other_family);
  EXPECT_EQ(other_family.error().kind, base::ErrorKind::input);
  EXPECT_TRUE(answer_of(ipv4.service).starts_with("web-"));
}

TEST_F(EbpfSocket, HooksGoWithTheDatapath) {
  sync(table_of(3));
  EXPECT_TRUE(answer_of(ipv4.service).starts_with("web-"));
  datapath_.reset();
  const auto after = dial(ipv4.service, Transport::tcp);
  ASSERT_FALSE(after);
  EXPECT_EQ(after.error().code, ENETUNREACH);
}

// How many programs hang on a cgroup for connects.
std::uint32_t attached_to(const std::string& path) {
  const base::UniqueFd cgroup(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  std::uint32_t count = 64;
  std::array<std::uint32_t, 64> ids{};
  std::uint32_t flags = 0;
  if (::bpf_prog_query(cgroup.get(), BPF_CGROUP_INET4_CONNECT, 0, &flags, ids.data(), &count) !=
      0) {
    return ~0U;
  }
  return count;
}

TEST_F(EbpfSocket, AKilledControllerLeavesNoHookBehind) {
  datapath_.reset();
  ASSERT_TRUE(base::testing::eventually([&] { return attached_to(cgroup_->path()) == 0; }));
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    hook();
    const char done = datapath_ != nullptr ? 'y' : 'n';
    if (::write(ready[1], &done, 1) != 1) ::_exit(1);
    ::pause();
    ::_exit(0);
  }
  char done = 'n';
  EXPECT_EQ(::read(ready[0], &done, 1), 1);
  EXPECT_EQ(done, 'y');
  EXPECT_EQ(attached_to(cgroup_->path()), 1U);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(base::testing::eventually([&] { return attached_to(cgroup_->path()) == 0; }));
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(EbpfSocket, ADirectoryThatIsNoCgroup2IsRefusedByName) {
  DatapathNode node;
  node.name = "node1";
  node.cgroup = "/tmp";
  std::vector<DatapathNode> nodes;
  nodes.push_back(std::move(node));
  const auto made = make_ebpf_socket_datapath(nodes);
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().kind, base::ErrorKind::missing);
  EXPECT_NE(made.error().message.find("/tmp"), std::string::npos);
}

}  // namespace
}  // namespace cluster
