#include "trainer/hf/common_keys.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"

namespace wyvern {
namespace {

// Whether these numbers give the list.
bool Gives(int64_t first_dense, int64_t every, const std::vector<bool>& sparse) {
  if (every < 1) return false;
  for (int64_t i = 0; i < static_cast<int64_t>(sparse.size()); ++i) {
    if (sparse[i] != (i >= first_dense && i % every == 0)) return false;
  }
  return true;
}

}  // namespace

void IgnoreCommonKeys(KeyReader* r) {
  r->Ignore({"architectures", "model_type", "transformers_version", "torch_dtype", "dtype",
             "auto_map", "_name_or_path", "use_cache", "bos_token_id", "eos_token_id",
             "sep_token_id", "cls_token_id", "decoder_start_token_id", "max_position_embeddings"});
  r->Ignore({"return_dict", "output_hidden_states", "output_attentions", "torchscript",
             "use_bfloat16", "tf_legacy_loss", "pruned_heads", "chunk_size_feed_forward",
             "is_encoder_decoder", "is_decoder", "cross_attention_hidden_size",
             "add_cross_attention", "tie_encoder_decoder", "_attn_implementation_autoset"});
  r->Ignore({"finetuning_task",
             "id2label",
             "label2id",
             "problem_type",
             "task_specific_params",
             "prefix",
             "tokenizer_class",
             "max_length",
             "min_length",
             "do_sample",
             "early_stopping",
             "num_beams",
             "num_beam_groups",
             "diversity_penalty",
             "temperature",
             "top_k",
             "top_p",
             "typical_p",
             "repetition_penalty",
             "length_penalty",
             "no_repeat_ngram_size",
             "encoder_no_repeat_ngram_size",
             "bad_words_ids",
             "num_return_sequences",
             "output_scores",
             "return_dict_in_generate",
             "forced_bos_token_id",
             "forced_eos_token_id",
             "remove_invalid_values",
             "exponential_decay_length_penalty",
             "suppress_tokens",
             "begin_suppress_tokens"});
}

void RefuseAlterations(KeyReader* r, const char* passed_over) {
  for (const char* key : {"quantization_config", "compression_config"}) {
    r->Only(key, false, "the weights must not be quantized");
  }
  for (const char* key : {"logit_scale", "logits_scaling", "lm_head_multiplier"}) {
    r->Only(key, 1, "logits are not scaled");
  }
  for (const char* key : {"embedding_multiplier", "scale_emb"}) {
    r->Only(key, 1, "embeddings are not scaled");
  }
  r->Only("residual_multiplier", 1, "the residual path is not scaled");
  r->Only("scale_depth", false, "the residual path is not scaled");
  r->Only("attention_multiplier", 1, "attention scores are scaled by 1 / sqrt(head_dim)");
  r->Only("query_pre_attn_scalar", nullptr, "attention scores are scaled by 1 / sqrt(head_dim)");
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    r->Only(key, false, "logits are not capped");
  }
  for (const absl::string_view key : {"use_qk_norm", "qk_layernorm"}) {
    if (passed_over != nullptr && key == passed_over) continue;
    r->Only(key.data(), false, "q and k are normalised as the family's library does");
  }
  r->Only("use_parallel_residual", false, "it changes the layers");
}

void ReadVocabulary(KeyReader* r, ModelConfig* m) {
  r->Int("vocab_size", &m->vocab_size);
  r->Bool("tie_word_embeddings", &m->tie_embeddings);
  r->Real("initializer_range", &m->initializer_range);
  std::optional<int64_t> pad;
  r->Int("pad_token_id", &pad);
  if (!pad.has_value()) return;
  // PyTorch counts a negative padding index from the end of the table.
  m->padding_id = *pad < 0 ? m->vocab_size + *pad : *pad;
  if (m->padding_id < 0 || m->padding_id >= m->vocab_size) {
    r->Fault("pad_token_id",
             absl::StrCat(*pad, " is outside of the vocabulary of ", m->vocab_size));
    m->padding_id = -1;
  }
}

void ReadIntermediateSize(KeyReader* r, ModelConfig* m) {
  r->Int("intermediate_size", &m->intermediate_size);
  if (m->intermediate_size < 1) {
    r->Fault("intermediate_size",
             absl::StrCat("expected a positive number, got ", m->intermediate_size));
  }
}

void RequireSwiGlu(KeyReader* r) {
  std::string act = "silu";
  r->String("hidden_act", &act);
  if (act != "swish" && act != "silu") {
    r->Fault("hidden_act", absl::StrCat("\"", act, "\" is not supported: the MLP is SwiGLU"));
  }
}

int64_t ReadWindow(KeyReader* r) {
  std::optional<int64_t> window;
  r->Int("window_size", &window);
  if (window.has_value() && *window < 1) {
    r->Fault("window_size", absl::StrCat("expected a positive number or null, got ", *window));
  }
  return std::max<int64_t>(window.value_or(0), 0);
}

nlohmann::json WindowJson(int64_t window) {
  return window > 0 ? nlohmann::json(window) : nlohmann::json(nullptr);
}

void RefuseSlidingWindow(KeyReader* r) {
  r->Only("use_sliding_window", false, "it changes the layers");
}

double ReadRopeTheta(KeyReader* r, std::optional<double>* partial_rotary_factor, double theta) {
  std::optional<double> outer, inner;
  r->Real("rope_theta", &outer);
  if (partial_rotary_factor != nullptr) r->Real("partial_rotary_factor", partial_rotary_factor);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const nlohmann::json& value = r->Json(key);
    if (value.is_null()) continue;
    if (!value.is_object()) {
      r->Fault(key, "expected an object");
      continue;
    }
    KeyReader rope = r->Inner(value, absl::StrCat(key, "."));
    for (const char* type_key : {"rope_type", "type"}) {
      rope.Only(type_key, "default", "rotary embeddings are not scaled");
    }
    if (partial_rotary_factor != nullptr) {
      const std::optional<double> outside = *partial_rotary_factor;
      rope.Real("partial_rotary_factor", partial_rotary_factor);
      if (outside.has_value() && outside != *partial_rotary_factor) {
        r->Fault("partial_rotary_factor", absl::StrCat(*outside, " contradicts that of ", key, ", ",
                                                       **partial_rotary_factor));
      }
    } else {
      rope.Only("partial_rotary_factor", 1.0, "the whole head rotates");
    }
    // Positions of text are the same along each axis of an image, so the sections have no effect.
    rope.Ignore({"mrope_section", "mrope_interleaved"});
    rope.Real("rope_theta", &inner);
    rope.NoteUnknown();
  }
  if (outer.has_value() && inner.has_value() && *outer != *inner) {
    r->Fault("rope_theta",
             absl::StrCat(*outer, " contradicts rope_parameters.rope_theta ", *inner));
  }
  return inner.value_or(outer.value_or(theta));
}

void WriteRopeTheta(double theta, nlohmann::json* config, double partial_rotary_factor) {
  nlohmann::json& rope = (*config)["rope_parameters"];
  rope = {{"rope_type", "default"}, {"rope_theta", theta}};
  (*config)["rope_theta"] = theta;
  if (partial_rotary_factor != 1) {
    rope["partial_rotary_factor"] = (*config)["partial_rotary_factor"] = partial_rotary_factor;
  }
  (*config)["rope_scaling"] = nullptr;
}

std::optional<std::vector<bool>> ReadLayerKinds(KeyReader* r, const char* key, int64_t num_layers,
                                                const char* first, const char* second) {
  const nlohmann::json& list = r->Json(key);
  if (list.is_null()) return std::nullopt;
  const std::string expected =
      absl::StrCat("expected ", num_layers, " of \"", first, "\" and \"", second, "\"");
  std::vector<bool> kinds;
  if (list.is_array() && static_cast<int64_t>(list.size()) == num_layers) {
    for (const nlohmann::json& kind : list) {
      if (kind != first && kind != second) break;
      kinds.push_back(kind == first);
    }
  }
  if (static_cast<int64_t>(kinds.size()) != num_layers) {
    r->Fault(key, expected);
    return std::nullopt;
  }
  return kinds;
}

bool FindExpertLayers(const std::vector<bool>& sparse, MoeConfig* moe) {
  if (Gives(moe->first_dense, moe->every, sparse)) return true;
  const auto num_layers = static_cast<int64_t>(sparse.size());
  const int64_t first_sparse = std::find(sparse.begin(), sparse.end(), true) - sparse.begin();
  for (int64_t every = 1; every <= num_layers; ++every) {
    // The first layer behind the last multiple that is still dense.
    const int64_t first = first_sparse == 0 ? 0 : (first_sparse - 1) / every * every + 1;
    if (!Gives(first, every, sparse)) continue;
    moe->first_dense = first;
    moe->every = every;
    return true;
  }
  return false;
}

void UseEverywhere(const std::string& name, MixerConfig mixer, ModelConfig* m) {
  m->mixers[name] = std::move(mixer);
  m->pattern = {name};
}

}  // namespace wyvern
