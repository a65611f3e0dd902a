#include "cluster/lab/mesh/proxy.h"

#include <gtest/gtest.h>

namespace cluster {
namespace {

TEST(ProxyCounters, AreReadFromWhatEnvoyLists) {
  const auto counters = read_counters(
      "cluster.outbound|8001||web.default.svc.cluster.local.ssl.handshake: 40\n"
      "cluster.outbound|8001||web.default.svc.cluster.local.ssl.session_reused: 30\n"
      "cluster.outbound|8004||web.default.svc.cluster.local.ssl.handshake: 2\n"
      "cluster.outbound|8004||web.default.svc.cluster.local.ssl.connection_error: 3\n"
      "cluster.outbound|8004||web.default.svc.cluster.local.ssl.fail_verify_error: 1\n"
      "cluster.outbound|8004||web.default.svc.cluster.local.upstream_cx_total: 5\n"
      "listener.inbound.downstream_cx_total: 44\n"
      "listener.inbound.worker_0.downstream_cx_total: 44\n"
      "listener.inbound.no_filter_chain_match: 7\n"
      "listener.inbound.ssl.handshake: 41\n"
      "listener.inbound.ssl.session_reused: 29\n"
      "listener.inbound.ssl.certificate.default.expiration_unix_time_seconds: 1795889327\n"
      "listener.outbound.downstream_cx_total: 50\n"
      "listener.outbound.worker_0.downstream_cx_total: 50\n");
  EXPECT_EQ(counters.client_handshakes, 42);
  EXPECT_EQ(counters.client_resumed, 30);
  EXPECT_EQ(counters.client_failed, 4);
  EXPECT_EQ(counters.upstream, 5);
  EXPECT_EQ(counters.server_handshakes, 41);
  EXPECT_EQ(counters.server_resumed, 29);
  EXPECT_EQ(counters.server_failed, 0);
  EXPECT_EQ(counters.connections_in, 44);
  EXPECT_EQ(counters.connections_out, 50);
  EXPECT_EQ(counters.no_chain, 7);
  EXPECT_EQ(counters.certificate_expires_s, 1'795'889'327);
}

TEST(ProxyCounters, AreNoneWhereNothingIsListed) {
  const auto counters = read_counters("no such thing\n");
  EXPECT_EQ(counters.client_handshakes + counters.server_handshakes, 0);
  EXPECT_FALSE(counters.certificate_expires_s);
}

TEST(OpenConnections, AreNamed) {
  EXPECT_EQ(name_open_connections(
                "cluster.outbound|8001||web.default.svc.cluster.local.upstream_cx_active: 0\n"
                "cluster.outbound|8004||web.default.svc.cluster.local.upstream_cx_active: 3\n"
                "listener.inbound.downstream_cx_active: 4\n"
                "listener.outbound.downstream_cx_active: 9\n"),
            "3 of outbound|8004||web.default.svc.cluster.local, 4 of inbound");
}

TEST(Refusals, AreCountedOfAllWhoTakeConfigurations) {
  EXPECT_EQ(read_refusals("cluster_manager.cds.update_rejected: 1\n"
                          "cluster_manager.cds.update_success: 9\n"
                          "listener_manager.lds.update_failure: 2\n"
                          "sds.default.update_rejected: 0\n"),
            3);
}

TEST(LastWords, SayWhyItEndsAndNotWhere) {
  std::string written =
      "[1][critical][assert] assert failure: inotify_fd_ >= 0. Details: Consider\n";
  for (int i = 0; i < 100; ++i) written += "[1][error][envoy_bug] #7 UNKNOWN [0x5641acb4b8a4]\n";
  EXPECT_EQ(read_last_words(written + "the end\n"),
            "[1][critical][assert] assert failure: inotify_fd_ >= 0. Details: Consider\nthe end\n");
  EXPECT_EQ(read_last_words(std::string(2000, 'x') + "\nthe end"), "the end\n");
  EXPECT_EQ(read_last_words(""), "");
}

TEST(Version, IsWhatAnEnvoySaysItIs) {
  const auto version =
      read_version("\n/x/envoy  version: abc/1.36.2/Clean/RELEASE/BoringSSL\n", "e");
  ASSERT_TRUE(version);
  EXPECT_EQ(*version, "abc/1.36.2/Clean/RELEASE/BoringSSL");
  for (const auto* other : {"", "1.0\n", "true (GNU coreutils) 9.1\n"}) {
    const auto refused = read_version(other, "/bin/true");
    ASSERT_FALSE(refused) << other;
    EXPECT_EQ(refused.error().kind, base::ErrorKind::input);
    EXPECT_TRUE(refused.error().message.starts_with("/bin/true: is no Envoy"));
  }
}

TEST(OpenConnections, AreThoseBetweenProxies) {
  EXPECT_EQ(read_open_connections(
                "cluster.inbound|7004||.upstream_cx_active: 9\n"
                "cluster.outbound|8001||web.default.svc.cluster.local.upstream_cx_active: 2\n"
                "cluster.outbound|8004||web.default.svc.cluster.local.upstream_cx_active: 3\n"
                "http.inbound_inbound|7004||.downstream_cx_active: 9\n"
                "listener.admin.downstream_cx_active: 1\n"
                "listener.inbound.downstream_cx_active: 4\n"
                "listener.inbound.worker_0.downstream_cx_active: 4\n"
                "listener.outbound.downstream_cx_active: 9\n"),
            9);
}

TEST(CpuUsage, IsThatOfTheCgroup) {
  const auto usage = read_cpu_usage("usage_usec 1234567\nuser_usec 1000000\nsystem_usec 234567\n");
  ASSERT_TRUE(usage);
  EXPECT_EQ(*usage, 1'234'567'000);
  EXPECT_FALSE(read_cpu_usage("nr_periods 0\n"));
}

}  // namespace
}  // namespace cluster
