#include "bench/tls/credentials.h"

#include <array>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

namespace bench::tls {
namespace {

using base::ErrorKind;
using base::Freed;
using Buffer = std::unique_ptr<BIO, Freed<BIO_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

Buffer buffer_of(const std::string& text) {
  return Buffer(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Certificate next_certificate(BIO* text) {
  return Certificate(::PEM_read_bio_X509(text, nullptr, nullptr, nullptr));
}

}  // namespace

std::unexpected<base::Error> openssl_error(ErrorKind kind, std::string_view what) {
  std::array<char, 256> text{"no reason given"};
  if (const auto code = ::ERR_get_error(); code != 0) {
    ::ERR_error_string_n(code, text.data(), text.size());
  }
  ::ERR_clear_error();
  return base::fail(kind, "{}: OpenSSL: {}", what, text.data());
}

base::Result<> show(SSL_CTX* context, const std::string& certificate, const std::string& key,
                    std::string_view whose) {
  if (certificate.empty()) return {};
  const auto text = buffer_of(certificate);
  const auto leaf = next_certificate(text.get());
  if (!leaf || ::SSL_CTX_use_certificate(context, leaf.get()) != 1) {
    return openssl_error(ErrorKind::input, fmt::format("{}: its certificate", whose));
  }
  while (auto next = next_certificate(text.get())) {
    if (SSL_CTX_add0_chain_cert(context, next.get()) != 1) {
      return openssl_error(ErrorKind::input, fmt::format("{}: its chain", whose));
    }
    (void)next.release();
  }
  ::ERR_clear_error();  // the end of the text is one
  const auto key_text = buffer_of(key);
  const Key own(::PEM_read_bio_PrivateKey(key_text.get(), nullptr, nullptr, nullptr));
  if (!own || ::SSL_CTX_use_PrivateKey(context, own.get()) != 1) {
    return openssl_error(ErrorKind::input, fmt::format("{}: its key", whose));
  }
  return {};
}

base::Result<> believe(SSL_CTX* context, const std::string& authority) {
  const auto text = buffer_of(authority);
  const auto its = next_certificate(text.get());
  if (!its || ::X509_STORE_add_cert(::SSL_CTX_get_cert_store(context), its.get()) != 1) {
    return openssl_error(ErrorKind::input, "the authority's certificate");
  }
  return {};
}

}  // namespace bench::tls
