"""The methods inside vLLM, as a plug-in of the group ``vllm.general_plugins``; no file of vLLM is changed.

One request is one *plan*: method, budget, hyper-parameters, seed, instruction. It travels as a processor keyword of the
request, so that vLLM hashes it with the image: no cache can give one plan's tokens to another.

=================  ====================================================================================================
module             where it runs
=================  ====================================================================================================
``plan``           everywhere: the plan as text
``sides``          everywhere: the family's adapter without, and around, the modules of vLLM
``front``          where requests are prepared: sizes, patches and budget become fields of the request, and the number
                   of placeholders; nothing of it needs the model
``processor``      the same, as vLLM's multimodal processor
``back``           in every worker: the encoder on the kept patches, then the tokens that stay, with their positions
``classes``        the model's classes, registered by ``plugin``
=================  ====================================================================================================
"""
