#include "probes/wire/tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "probes/wire/testing/conversation.h"

namespace probes {
namespace {

using testing::bytes_of;
using ::testing::ElementsAre;
using testing::record;

TlsStream taken(const std::string& text, std::size_t piece = 1 << 20) {
  TlsStream stream;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    stream.take(bytes_of(std::string_view(text).substr(at, piece)));
  }
  return stream;
}

TEST(TlsStream, ReadsWhatTheHellosSay) {
  const auto sidecar =
      record(22, testing::client_hello("outbound_.80_._.web.default.svc.cluster.local"));
  for (const std::size_t piece : {1U, 3U, 7U, 1000U}) {
    const auto stream =
        taken(sidecar + record(20, "\x01") + record(23, std::string(300, '?')), piece);
    EXPECT_TRUE(stream.all_records());
    ASSERT_TRUE(stream.client_hello());
    EXPECT_EQ(stream.client_hello()->server_name, "outbound_.80_._.web.default.svc.cluster.local");
    EXPECT_THAT(stream.client_hello()->alpn, ElementsAre("istio-http/1.1", "istio", "http/1.1"));
    EXPECT_THAT(stream.client_hello()->versions, ElementsAre(0x0304, 0x0303));  // GREASE is none
    EXPECT_FALSE(stream.client_hello()->resumes);
    EXPECT_EQ(stream.records(TlsContent::application_data), 1U);
    EXPECT_EQ(stream.records(TlsContent::handshake), 1U);
    EXPECT_FALSE(stream.data_before_hello());
  }
  const auto server = taken(record(22, testing::server_hello()));
  ASSERT_TRUE(server.server_hello());
  EXPECT_EQ(tls_version_name(server.server_hello()->version), "TLS 1.3");
  EXPECT_EQ(server.server_hello()->cipher_suite, 0x1301);
}

TEST(TlsStream, AHelloMaySpanRecords) {
  const auto hello = testing::client_hello("a.example");
  const auto stream = taken(record(22, hello.substr(0, 30)) + record(22, hello.substr(30)));
  ASSERT_TRUE(stream.client_hello());
  EXPECT_EQ(stream.client_hello()->server_name, "a.example");
}

TEST(TlsStream, ByteThatLiesInNoRecordIsFound) {
  const auto hello = record(22, testing::client_hello("a.example"));
  const auto sealed = record(23, std::string(50, '?'));
  for (const std::size_t piece : {1U, 4U, 1000U}) {
    const auto plain = taken("GET / HTTP/1.1\r\n\r\n", piece);
    EXPECT_EQ(plain.stranger_at(), 0U);
    EXPECT_EQ(std::string(plain.stranger().begin(), plain.stranger().end()),
              "GET / HTTP/1.1\r\n\r\n");
    // One request in clear behind a hundred that were sealed.
    const auto late = taken(hello + sealed + sealed + "POST /64 HTTP/1.1\r\n" + sealed, piece);
    EXPECT_EQ(late.stranger_at(), hello.size() + 2 * sealed.size());
    EXPECT_EQ(late.bytes(), hello.size() + 3 * sealed.size() + 19);
  }
  EXPECT_TRUE(taken(hello + sealed.substr(0, 20)).all_records());
  EXPECT_FALSE(taken(hello + std::string("\x17\x03\x03\xff\xff", 5)).all_records());
  EXPECT_FALSE(taken(hello + std::string("\x17\x03\x03\x00\x00", 5)).all_records());
  EXPECT_FALSE(taken(hello + std::string("\x17\x02", 2)).all_records());
}

TEST(TlsStream, DataBeforeAnyHelloIsNoTls) {
  EXPECT_TRUE(taken(record(23, "abc")).data_before_hello());
}

TEST(ClientHello, ThatIsCutAnywhereIsNone) {
  const auto whole = testing::client_hello("a.example").substr(4);
  ASSERT_TRUE(read_client_hello(bytes_of(whole)));
  // Extensions may be absent, so one that ends before them is a hello of long ago.
  const std::size_t before_extensions = 2 + 32 + 1 + 4 + 2;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    if (size == before_extensions) continue;
    EXPECT_FALSE(read_client_hello(bytes_of(std::string_view(whole).substr(0, size)))) << size;
  }
}

}  // namespace
}  // namespace probes
