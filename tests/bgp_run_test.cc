// The shipped question about BGP, asked of a lab that is broken on purpose, and what was kept of
// what was said: needs root and the gobgpd that ./bootstrap test unpacks.
#include <filesystem>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pcap/pcap.h>
#include <unistd.h>

#include "base/file.h"
#include "base/freed.h"
#include "base/json.h"
#include "base/packet.h"
#include "base/process.h"
#include "bgp-peer/wire.h"

namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

// One run for all tests: sessions take seconds to come up.
class BgpRun : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (::geteuid() != 0) return;
    directory_ = fs::path(::testing::TempDir()) / fmt::format("bgp-run-{}", ::getpid());
    auto ran = base::run(
        {STACKBENCH_BINARY_DIR "/stackbench", "run", "scenarios/bgp.yaml", "--set", "bgp.rounds=2",
         "--set", "bgp.fault=wrong_community", "--out", (directory_ / "report.json").string()},
        {.timeout = std::chrono::minutes(2), .directory = STACKBENCH_SOURCE_DIR});
    ASSERT_TRUE(ran) << base::describe_error(ran.error());
    ran_ = *std::move(ran);
  }
  static void TearDownTestSuite() {
    std::error_code ignored;
    if (!directory_.empty()) fs::remove_all(directory_, ignored);
  }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root: the lab makes network namespaces";
  }

  static inline fs::path directory_;
  static inline base::RunResult ran_;
};

TEST_F(BgpRun, FindsTheWrongCommunityAndKeepsWhatWasSaid) {
  EXPECT_EQ(ran_.status.code, 1) << ran_.out << ran_.err;
  EXPECT_THAT(ran_.out, HasSubstr("bgp_announces_lb_ip of web"));
  EXPECT_THAT(ran_.out, HasSubstr("communities 65000:57005, 65000:99, expected 65000:99"));
  EXPECT_THAT(ran_.out, HasSubstr("first answered packet after"));
  const auto text = base::read_file((directory_ / "report.json").string());
  ASSERT_TRUE(text);
  const auto report = base::parse_json(*text).value_or(base::Json());
  std::map<std::string, std::string> verdicts;
  for (const auto& check : report["checks"]) {
    verdicts[check["name"].get<std::string>()] = check["verdict"].get<std::string>();
  }
  EXPECT_EQ(verdicts["bgp_session_established"], "pass");
  EXPECT_EQ(verdicts["bgp_announces_lb_ip"], "fail");
  EXPECT_EQ(verdicts["bgp_not_announced_early"], "pass");
  EXPECT_GT(fs::file_size(directory_ / "report.node2.pcap"), 1000U);
}

// What the UPDATEs of one packet say, and when it passed: comparable, and readable when they
// differ.
struct Said {
  std::string time;  // seconds since the epoch, to the nanosecond
  std::size_t updates = 0;
  std::multiset<std::string> announced = {};
  std::multiset<std::string> withdrawn = {};

  bool operator==(const Said&) const = default;
  friend std::ostream& operator<<(std::ostream& out, const Said& said) {
    return out << fmt::format("{}: {} UPDATEs, +{} -{}", said.time, said.updates,
                              fmt::join(said.announced, ","), fmt::join(said.withdrawn, ","));
  }
};

std::vector<Said> by_our_decoder(const fs::path& file) {
  std::array<char, PCAP_ERRBUF_SIZE> words{};
  const std::unique_ptr<pcap_t, base::Freed<pcap_close>> handle(
      pcap_open_offline_with_tstamp_precision(file.c_str(), PCAP_TSTAMP_PRECISION_NANO,
                                              words.data()));
  std::vector<Said> all;
  if (!handle) {
    ADD_FAILURE() << words.data();
    return all;
  }
  std::map<std::pair<base::Endpoint, base::Endpoint>, bgp_peer::MessageStream> streams;
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  while (pcap_next_ex(handle.get(), &header, &bytes) == 1) {
    const auto segment = base::read_segment({bytes, header->caplen});
    if (!segment) continue;
    const auto updates =
        streams[{segment->source, segment->destination}].take(segment->sequence, segment->payload);
    if (updates.empty()) continue;
    Said said{.time = fmt::format("{}.{:09}", header->ts.tv_sec, header->ts.tv_usec),
              .updates = updates.size()};
    for (const auto& update : updates) {
      for (const auto& prefix : update.announced) said.announced.insert(prefix.address.to_string());
      for (const auto& prefix : update.withdrawn) said.withdrawn.insert(prefix.address.to_string());
    }
    all.push_back(std::move(said));
  }
  return all;
}

std::vector<std::string> parts(const std::string& text, char separator) {
  std::vector<std::string> all;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, separator);) all.push_back(part);
  return all;
}

std::vector<Said> by_tshark(const fs::path& file) {
  const auto ran = base::run({"tshark", "-r", file.string(), "-Y", "bgp.type == 2", "-T", "fields",
                              "-e", "frame.time_epoch", "-e", "bgp.type", "-e", "bgp.nlri_prefix",
                              "-e", "bgp.mp_reach_nlri_ipv6_prefix", "-e", "bgp.withdrawn_prefix",
                              "-e", "bgp.mp_unreach_nlri_ipv6_prefix"},
                             {.timeout = std::chrono::minutes(1)});
  std::vector<Said> all;
  if (!ran || ran->status.code != 0) {
    ADD_FAILURE() << (ran ? ran->err : base::describe_error(ran.error()));
    return all;
  }
  for (const auto& line : parts(ran->out, '\n')) {
    auto fields = parts(line, '\t');
    fields.resize(6);
    Said said{.time = fields[0]};
    const auto types = parts(fields[1], ',');
    said.updates = static_cast<std::size_t>(std::ranges::count(types, "2"));
    for (const std::size_t field : {2U, 3U}) {
      for (const auto& prefix : parts(fields[field], ',')) said.announced.insert(prefix);
    }
    for (const std::size_t field : {4U, 5U}) {
      for (const auto& prefix : parts(fields[field], ',')) said.withdrawn.insert(prefix);
    }
    all.push_back(std::move(said));
  }
  return all;
}

// Two decoders that have nothing in common say the same of every packet: which prefixes come and
// go, in how many UPDATEs, and when.
TEST_F(BgpRun, SaysWhatTsharkReadsInItsCaptures) {
  const auto version = base::run({"tshark", "--version"}, {.timeout = std::chrono::minutes(1)});
  if (!version) GTEST_SKIP() << "needs tshark, which ./bootstrap test all installs";
  for (const int node : {1, 2}) {
    const auto file = directory_ / fmt::format("report.node{}.pcap", node);
    const auto ours = by_our_decoder(file);
    EXPECT_EQ(ours, by_tshark(file)) << file;
    std::size_t prefixes = 0;
    for (const auto& said : ours) prefixes += said.announced.size() + said.withdrawn.size();
    // Under Local node 2 alone announces: in two rounds two addresses, which come and go, and what
    // was there before and after them. Node 1 has nothing to say.
    if (node == 1) {
      EXPECT_EQ(prefixes, 0U);
    } else {
      EXPECT_GE(prefixes, 8U);
    }
  }
}

}  // namespace
