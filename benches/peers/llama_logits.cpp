// Writes the logits that llama.cpp computes of some tokens, in f32, a row a token: `llama_logits MODEL OUT ID...`, up to
// 512 tokens. Compile it against llama.h, and link it with libllama and ggml.
#include "llama.h"

#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char **argv) {
    if (argc < 4) {
        std::fprintf(stderr, "usage: llama_logits MODEL OUT ID...\n");
        return 2;
    }
    llama_backend_init();
    llama_model *model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model) return 1;
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = 512;
    llama_context *context = llama_init_from_model(model, params);
    if (!context) return 1;
    const int n_tokens = argc - 3;
    llama_batch batch = llama_batch_init(512, 0, 1);
    batch.n_tokens = n_tokens;
    for (int i = 0; i < n_tokens; i++) {
        batch.token[i] = std::atoi(argv[i + 3]);
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = 1;
    }
    if (llama_decode(context, batch)) return 1;
    const int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    std::FILE *out = std::fopen(argv[2], "wb");
    if (!out) return 1;
    for (int i = 0; i < n_tokens; i++) std::fwrite(llama_get_logits_ith(context, i), 4, n_vocab, out);
    return std::fclose(out);
}
